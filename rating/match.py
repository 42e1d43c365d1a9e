"""Why a metric counts an event, or why not: the same rules as rating/metric.py, with words. Pure.

match(metric, event_type, properties) -> Match | Miss
"""

from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

import msgspec

from rating import metric, number
from rating.metric import Aggregation, Counted, Metric, Properties

_VALUES_SHOWN = 10
_TEXT_SHOWN = 100


class Reason(StrEnum):
    """Why an event is left uncounted."""

    EVENT_TYPE = "EVENT_TYPE"
    FILTER = "FILTER"
    PROPERTY_MISSING = "PROPERTY_MISSING"
    NOT_A_NUMBER = "NOT_A_NUMBER"
    NO_TEXT = "NO_TEXT"


class Match(msgspec.Struct, frozen=True):
    """The metric counts the event; `adds` is what of it."""

    adds: str


class Miss(msgspec.Struct, frozen=True):
    """The metric leaves the event uncounted."""

    reason: Reason
    property: str | None
    message: str


Found: TypeAlias = Match | Miss


def match(one: Metric, event_type: str, properties: Properties) -> Found:
    """What the metric makes of an event."""
    if event_type != one.event_type:
        return Miss(Reason.EVENT_TYPE, None, f"The metric counts events of type `{one.event_type}`.")
    for name, wanted, alone in _conditions(one):
        if metric.counted(alone, properties) is None:
            message = f"`{name}` is {_shown(properties, name)}; the metric wants {wanted}."
            return Miss(Reason.FILTER, name, message)
    found = metric.counted(one, properties)
    return _uncounted(one, properties) if found is None else Match(_plain(found))


def _conditions(one: Metric) -> list[tuple[str, str, Metric]]:
    """Each condition by itself: its property, what it wants in words, and a metric that has no other."""
    bare = msgspec.structs.replace(
        one, aggregation=Aggregation.COUNT, aggregation_property=None, filters=(), bounds=(), group_by=()
    )
    filters = [(of.name, _wanted(of), msgspec.structs.replace(bare, filters=(of,))) for of in one.filters]
    bounds = [
        (of.name, f"a number {of.comparison} {number.plain(of.value)}", msgspec.structs.replace(bare, bounds=(of,)))
        for of in one.bounds
    ]
    return filters + bounds


def _wanted(one: metric.Filter) -> str:
    values = sorted(one.values)
    listed = ", ".join(value[:_TEXT_SHOWN] for value in values[:_VALUES_SHOWN])
    more = f" and {len(values) - _VALUES_SHOWN} more" if len(values) > _VALUES_SHOWN else ""
    return f"{'none' if one.is_negated else 'one'} of: {listed}{more}"


def _uncounted(one: Metric, properties: Properties) -> Miss:
    name = one.aggregation_property or ""
    if properties.get(name) is None:
        return Miss(Reason.PROPERTY_MISSING, name, f"The event has no property `{name}`, which the metric reads.")
    if one.aggregation is Aggregation.UNIQUE:
        return Miss(Reason.NO_TEXT, name, f"`{name}` is {_shown(properties, name)}, which has no text to tell apart.")
    return Miss(Reason.NOT_A_NUMBER, name, f"`{name}` is {_shown(properties, name)}, which is no plain number.")


def _shown(properties: Properties, name: str) -> str:
    text = metric.text_of(properties.get(name))
    if text is None:
        return "not there" if name not in properties else "null"
    return repr(text[:_TEXT_SHOWN])


def _plain(found: Counted) -> str:
    return number.plain(found) if isinstance(found, Decimal) else str(found)
