"""Usage metrics: which events count, and what one event adds. Pure.

    event properties, as decoded from their JSON: str, int, Decimal, bool or None by name
    counted(metric, properties) -> what the event adds, or None if the metric leaves it uncounted
        COUNT     1
        UNIQUE    the property's text; the metric's value is how many different ones there are
        SUM, AVERAGE, MAX, MIN, LATEST, WEIGHTED
                  the property's number; a plain decimal string counts as a number. What becomes of it: rating/span.py
                  for the last four

Filters compare text: a string is itself, a number is its plain decimal form, a boolean is `true` or `false`; null and
absent have no text and are in no list. Values of one property are alternatives, properties all have to agree, a
negated one agrees when its text is not in the list. The text of a value is also what UNIQUE tells apart, so 42 and
"42" are one value. Bounds compare numbers; what is no number lies within none.

A metric may count apart by the texts of some properties: a group is the JSON array of their texts, null where there
is none.
"""

import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeAlias, assert_never

import msgspec

from rating import number

Properties: TypeAlias = Mapping[str, object]
Counted: TypeAlias = int | Decimal | str
Rule: TypeAlias = Callable[[Properties], Counted | None]

# Below 1e20 with up to 18 decimals: the limits of numbers in events. Anything else in a string is text.
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,18})?", re.ASCII)

_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_ALL_DECODER = msgspec.json.Decoder(list[dict[str, Any]], float_hook=Decimal)
_GROUP = msgspec.json.Decoder(list[str | None])

# How a number may be compared, in the words of the API.
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "gt": operator.gt,
        "gte": operator.ge,
        "lt": operator.lt,
        "lte": operator.le,
        "eq": operator.eq,
        "ne": operator.ne,
    }
)


class Aggregation(StrEnum):
    """How events become one number. The first three are the reference's."""

    COUNT = "COUNT"
    SUM = "SUM"
    UNIQUE = "UNIQUE"
    MAX = "MAX"
    MIN = "MIN"
    LATEST = "LATEST"
    AVERAGE = "AVERAGE"
    WEIGHTED = "WEIGHTED"


# Whose differences add up, so that what was added can be taken back without a look at the other events.
ADDITIVE = frozenset({Aggregation.COUNT, Aggregation.SUM, Aggregation.UNIQUE, Aggregation.AVERAGE})


class Filter(msgspec.Struct, frozen=True):
    """One property and the texts it may have; negated: may not have."""

    name: str
    values: frozenset[str]
    is_negated: bool


class Bound(msgspec.Struct, frozen=True):
    """One property, and a number that its own must compare to in this way."""

    name: str
    comparison: str
    value: Decimal


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a metric. `number` is its name inside: counters bear it.

    Events with numbers from `folded_to` up to, not including, `born_no` lie in its history and are not counted yet.
    """

    id: str
    version: int
    number: int
    event_type: str
    aggregation: Aggregation
    aggregation_property: str | None
    filters: tuple[Filter, ...] = ()
    is_case_sensitive: bool = True
    bounds: tuple[Bound, ...] = ()
    group_by: tuple[str, ...] = ()
    folded_to: int = 0
    born_no: int = 0

    @property
    def reads_properties(self) -> bool:
        """Whether an event's properties have any say."""
        return bool(self.filters or self.bounds or self.group_by) or self.aggregation_property is not None

    @property
    def is_additive(self) -> bool:
        """Whether its counters are sums."""
        return self.aggregation in ADDITIVE

    @property
    def is_complete(self) -> bool:
        """Whether its history is counted."""
        return self.folded_to >= self.born_no


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


def counted_all(metric: Metric) -> Callable[[Sequence[Properties]], list[Counted | None]]:
    """What each of many events adds, for whoever has many times many."""
    take, name = rule(metric), metric.aggregation_property or ""
    is_plain = (
        not metric.filters and not metric.bounds and metric.aggregation not in {Aggregation.COUNT, Aggregation.UNIQUE}
    )

    def each(properties: Sequence[Properties]) -> list[Counted | None]:
        # The usual case: a column of integers, which need no look one by one.
        found: Any = [one.get(name) for one in properties] if is_plain else ()
        return found if {*map(type, found)} == {int} else [take(one) for one in properties]

    return each


def rule(metric: Metric) -> Rule:
    """The metric as a function of an event's properties, for whoever has many events."""
    take = _take(metric)
    if not metric.filters and not metric.bounds:
        return take
    accepts = (
        *(_accepts(one, metric.is_case_sensitive) for one in metric.filters),
        *(_compares(one) for one in metric.bounds),
    )

    def filtered(properties: Properties) -> Counted | None:
        for one in accepts:
            if not one(properties):
                return None
        return take(properties)

    return filtered


def group(names: Sequence[str], properties: Properties) -> str:
    """The group of an event: the texts of these properties as JSON."""
    return msgspec.json.encode([text_of(properties.get(name)) for name in names]).decode()


def groups(names: Sequence[str], properties: Sequence[Properties]) -> list[str]:
    """The groups of many events. Most events share theirs with others, so each is written once."""
    keys = list(zip(*([one.get(name) for one in properties] for name in names), strict=True))
    distinct = {*keys}
    if not {kind for key in distinct for kind in map(type, key)} <= {str, type(None)}:
        # 1 and true are equal, and their texts are not.
        return [group(names, one) for one in properties]
    known = {key: msgspec.json.encode(key).decode() for key in distinct}
    return list(map(known.__getitem__, keys))


def group_name(texts: Sequence[str | None]) -> str:
    """How people name a group: "eu", or "eu / small" where there are several properties; "" has none of them."""
    return " / ".join(text or "" for text in texts) if any(texts) else ""


def accepts(wanted: Sequence[Filter], properties: Properties, *, is_case_sensitive: bool) -> bool:
    """Whether all filters agree."""
    return all(_accepts(one, is_case_sensitive)(properties) for one in wanted)


def decode_group(text: str) -> tuple[str | None, ...]:
    """The texts of a group."""
    return tuple(_GROUP.decode(text))


def decode_properties(properties: bytes | str) -> dict[str, object]:
    """Properties from their JSON, numbers exact."""
    return _DECODER.decode(properties)


def decode_all(properties: Sequence[bytes]) -> list[dict[str, object]]:
    """The same for many events at once, which is twice as fast."""
    return _ALL_DECODER.decode(b"[%b]" % b",".join(properties))


def number_of(value: object) -> int | Decimal | None:
    """The number that a property value is; None: it is none."""
    # The usual case first; a boolean's type is another.
    if type(value) is int:
        return value
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
        case Aggregation.UNIQUE:
            return lambda properties: text_of(properties.get(name))
        case (
            Aggregation.SUM
            | Aggregation.AVERAGE
            | Aggregation.MAX
            | Aggregation.MIN
            | Aggregation.LATEST
            | Aggregation.WEIGHTED
        ):
            return lambda properties: number_of(properties.get(name))
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


def _compares(one: Bound) -> Callable[[Properties], bool]:
    name, value, compare = one.name, one.value, COMPARISONS[one.comparison]

    def compares(properties: Properties) -> bool:
        found = number_of(properties.get(name))
        return found is not None and compare(found, value)

    return compares
