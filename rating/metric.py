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
from functools import lru_cache, partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeAlias, assert_never

import msgspec

from rating import number

Properties: TypeAlias = Mapping[str, object]
Counted: TypeAlias = int | Decimal | str
# A property of many events: its value in each, None where there is none.
Columns: TypeAlias = Mapping[str, Sequence[object]]
Rule: TypeAlias = Callable[[Properties], Counted | None]

# Below 1e20 with up to 18 decimals: the limits of numbers in events. Anything else in a string is text.
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,18})?", re.ASCII)

_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
# How many sets of names are remembered; each type of event with metrics has one.
_COLUMN_DECODERS_MAX = 256
_NO_FIELD = re.compile(r'[\\"\x00-\x1f]')
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
        return bool(self.names)

    @property
    def names(self) -> frozenset[str]:
        """Of the properties that have any say."""
        own = () if self.aggregation_property is None else (self.aggregation_property,)
        conditions = (*(one.name for one in self.filters), *(one.name for one in self.bounds))
        return frozenset((*own, *self.group_by, *conditions))

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


def counted_all(metric: Metric) -> Callable[[Columns, int], list[Counted | None]]:
    """What each of so many events adds, column by column, for whoever has many times many."""
    take, name, conditions = _value(metric.aggregation), metric.aggregation_property, _conditions(metric)
    is_number = metric.aggregation not in {Aggregation.COUNT, Aggregation.UNIQUE}

    def each(columns: Columns, events: int) -> list[Counted | None]:
        found: list[Any] = [1] * events if name is None else list(columns[name])
        # Integers, which nearly all numbers are, are what they add.
        if name is not None and not (is_number and {*map(type, found)} == {int}):
            found = list(map(take, found))
        for of, accept in conditions:
            found = [one if accept(value) else None for one, value in zip(found, columns[of], strict=True)]
        return found

    return each


def rule(metric: Metric) -> Rule:
    """The metric as a function of an event's properties, for whoever has one after the other."""
    take, name, conditions = _value(metric.aggregation), metric.aggregation_property or "", _conditions(metric)

    def counted_(properties: Properties) -> Counted | None:
        for of, accept in conditions:
            if not accept(properties.get(of)):
                return None
        return take(properties.get(name))

    return counted_


def group(names: Sequence[str], properties: Properties) -> str:
    """The group of an event: the texts of these properties as JSON."""
    return _group_text([text_of(properties.get(name)) for name in names])


def _group_text(texts: Sequence[str | None]) -> str:
    return msgspec.json.encode(texts).decode()


def groups(names: Sequence[str], columns: Columns) -> tuple[list[int], list[str]]:
    """The groups of many events: the number of each event's, and their texts by number."""
    texts = [_texts(columns[name]) for name in names]
    # Nearly always there is one property, and no need of tuples.
    keys: Sequence[Any] = texts[0] if len(texts) == 1 else list(zip(*texts, strict=True))
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    wrapped = [(key,) for key in numbers] if len(texts) == 1 else numbers
    return list(map(numbers.__getitem__, keys)), list(map(_group_text, wrapped))


def _texts(column: Sequence[object]) -> Sequence[str | None]:
    """The texts of values, which most of them are."""
    return column if {*map(type, column)} <= {str, type(None)} else list(map(text_of, column))  # type: ignore[return-value]


def group_name(texts: Sequence[str | None]) -> str:
    """How people name a group: "eu", or "eu / small" where there are several properties; "" has none of them."""
    return " / ".join(text or "" for text in texts) if any(texts) else ""


def accepts(wanted: Sequence[Filter], properties: Properties, *, is_case_sensitive: bool) -> bool:
    """Whether all filters agree."""
    return all(_accepts(one, is_case_sensitive)(properties.get(one.name)) for one in wanted)


def decode_group(text: str) -> tuple[str | None, ...]:
    """The texts of a group."""
    return tuple(_GROUP.decode(text))


def decode_properties(properties: bytes | str) -> dict[str, object]:
    """Properties from their JSON, numbers exact."""
    return _DECODER.decode(properties)


def columns(lines: bytes, names: frozenset[str]) -> Columns:
    """These properties of many events, from the JSON of each in a line."""
    decode, takes = _column_decoder(names)
    rows = decode(lines)
    return {name: list(map(take, rows)) for name, take in takes.items()}


@lru_cache(maxsize=_COLUMN_DECODERS_MAX)
def _column_decoder(
    names: frozenset[str],
) -> tuple[Callable[[bytes], list[Any]], Mapping[str, Callable[[Any], object]]]:
    """Lines as rows, and how to take each property out of one.

    Rows of a type of their own cost half of what dicts do: what nobody asks for is skipped, and no name is hashed.
    """
    if any(_NO_FIELD.search(name) for name in names):
        # The names of such a type may not hold what JSON has to escape.
        return _DECODER.decode_lines, {name: partial(_get, name) for name in names}
    fields = {name: f"field_{number}" for number, name in enumerate(sorted(names))}
    row = msgspec.defstruct(
        "Row",
        [(field, object, None) for field in fields.values()],
        rename={field: name for name, field in fields.items()},
        gc=False,
    )
    decode = msgspec.json.Decoder(row, float_hook=Decimal).decode_lines
    return decode, {name: attrgetter(field) for name, field in fields.items()}


def _get(name: str, properties: Properties) -> object:
    return properties.get(name)


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


def _value(aggregation: Aggregation) -> Callable[[object], Counted | None]:
    """What an event adds by the value of the metric's property."""
    match aggregation:
        case Aggregation.COUNT:
            return lambda _: 1
        case Aggregation.UNIQUE:
            return text_of
        case (
            Aggregation.SUM
            | Aggregation.AVERAGE
            | Aggregation.MAX
            | Aggregation.MIN
            | Aggregation.LATEST
            | Aggregation.WEIGHTED
        ):
            return number_of
        case _:
            assert_never(aggregation)


def _conditions(metric: Metric) -> list[tuple[str, Callable[[object], bool]]]:
    """What has to be true of which properties."""
    return [
        *((one.name, _accepts(one, metric.is_case_sensitive)) for one in metric.filters),
        *((one.name, _compares(one)) for one in metric.bounds),
    ]


def _accepts(one: Filter, is_case_sensitive: bool) -> Callable[[object], bool]:
    values, is_negated = one.values, one.is_negated

    def accepts(value: object) -> bool:
        text = text_of(value)
        if text is not None and not is_case_sensitive:
            text = text.casefold()
        return (text in values) != is_negated

    return accepts


def _compares(one: Bound) -> Callable[[object], bool]:
    wanted, compare = one.value, COMPARISONS[one.comparison]

    def compares(value: object) -> bool:
        found = number_of(value)
        return found is not None and compare(found, wanted)

    return compares
