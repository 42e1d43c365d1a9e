"""Usage metrics: which events count, and what one event adds. Pure.

    event properties, as decoded from their JSON: str, int, Decimal, bool or None by name
    counted(metric, properties) -> what the event adds, or None if the metric leaves it uncounted
        COUNT   1
        SUM     the property's number; a plain decimal string counts as a number
        UNIQUE  the property's text; the metric's value is how many different ones there are

Filters compare text: a string is itself, a number is its plain decimal form, a boolean is `true` or `false`; null and
absent have no text and are in no list. Values of one property are alternatives, properties all have to agree, a
negated one agrees when its text is not in the list. The text of a value is also what UNIQUE tells apart, so 42 and
"42" are one value.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeAlias, assert_never

import msgspec

from rating import number

Properties: TypeAlias = Mapping[str, object]
Counted: TypeAlias = int | Decimal | str
Rule: TypeAlias = Callable[[Properties], Counted | None]

# Below 1e20 with up to 18 decimals: the limits of numbers in events. Anything else in a string is text.
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,18})?", re.ASCII)

_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class Aggregation(StrEnum):
    """How events become one number, in the reference's words."""

    COUNT = "COUNT"
    SUM = "SUM"
    UNIQUE = "UNIQUE"


class Filter(msgspec.Struct, frozen=True):
    """One property and the texts it may have; negated: may not have."""

    name: str
    values: frozenset[str]
    is_negated: bool


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a metric. `number` is its name inside: counters bear it."""

    id: str
    version: int
    number: int
    event_type: str
    aggregation: Aggregation
    aggregation_property: str | None
    filters: tuple[Filter, ...] = ()
    is_case_sensitive: bool = True

    @property
    def reads_properties(self) -> bool:
        """Whether an event's properties have any say."""
        return bool(self.filters) or self.aggregation_property is not None


def filters(
    accepted: Mapping[str, Sequence[str]], *, negated: Collection[str], is_case_sensitive: bool
) -> tuple[Filter, ...]:
    """The filters from the words of the API: `propertyFilters`, `propertiesToNegate`, `caseSensitive`."""
    return tuple(
        Filter(name, frozenset(values if is_case_sensitive else map(str.casefold, values)), name in negated)
        for name, values in sorted(accepted.items())
    )


def counted(metric: Metric, properties: Properties) -> Counted | None:
    """What an event of the metric's type adds; None: it is not counted."""
    return rule(metric)(properties)


def rule(metric: Metric) -> Rule:
    """The metric as a function of an event's properties, for whoever has many events."""
    take = _take(metric)
    if not metric.filters:
        return take
    accepts = tuple(_accepts(one, metric.is_case_sensitive) for one in metric.filters)

    def filtered(properties: Properties) -> Counted | None:
        for one in accepts:
            if not one(properties):
                return None
        return take(properties)

    return filtered


def decode_properties(properties: bytes | str) -> dict[str, object]:
    """Properties from their JSON, numbers exact."""
    return _DECODER.decode(properties)


def number_of(value: object) -> int | Decimal | None:
    """The number that a property value is; None: it is none."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if isinstance(value, str):
        return Decimal(value) if _PLAIN_NUMBER.fullmatch(value) else None
    return value if isinstance(value, Decimal) else None


def text_of(value: object) -> str | None:
    """The text of a property value; null and absent have none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return number.plain(value) if isinstance(value, Decimal) else None


def _take(metric: Metric) -> Rule:
    name = metric.aggregation_property or ""
    match metric.aggregation:
        case Aggregation.COUNT:
            return lambda _: 1
        case Aggregation.SUM:
            return lambda properties: number_of(properties.get(name))
        case Aggregation.UNIQUE:
            return lambda properties: text_of(properties.get(name))
        case _:
            assert_never(metric.aggregation)


def _accepts(one: Filter, is_case_sensitive: bool) -> Callable[[Properties], bool]:
    name, values, is_negated = one.name, one.values, one.is_negated

    def accepts(properties: Properties) -> bool:
        text = text_of(properties.get(name))
        if text is not None and not is_case_sensitive:
            text = text.casefold()
        return (text in values) != is_negated

    return accepts
