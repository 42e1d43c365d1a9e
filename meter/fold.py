"""Events x metrics -> differences of counters. Pure; the one place where usage is counted.

The aggregator folds what arrived, a correction folds what it takes back with sign -1, a new metric folds its history:
all through `fold`, so that they cannot disagree. Sums are exact: integers stay integers, decimals go through
rating.number.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from typing import Any, TypeAlias

import msgspec

from rating import metric, number
from rating.metric import Aggregation, Counted, Metric, Properties
from store import counter
from store.bucket import SLOT_MICROSECONDS
from store.cell import add
from store.counter import Deltas

Rules: TypeAlias = "Mapping[str, tuple[Rule, ...]]"
# Alias number, quarter hour and group: 0 where nothing is grouped, else its text.
_Place: TypeAlias = tuple[int, int, int | str]


class Occurrences(msgspec.Struct, frozen=True):
    """What happened, as columns: event numbers, alias numbers, types, microseconds since 1970, canonical JSON."""

    numbers: list[int]
    aliases: list[int]
    types: list[str]
    timestamps: list[int]
    properties: list[bytes]

    def extend(
        self,
        numbers: Iterable[int],
        aliases: Iterable[int],
        types: Iterable[str],
        timestamps: Iterable[int],
        properties: Iterable[bytes],
    ) -> None:
        """Let more follow."""
        self.numbers.extend(numbers)
        self.aliases.extend(aliases)
        self.types.extend(types)
        self.timestamps.extend(timestamps)
        self.properties.extend(properties)

    def of_type(self, event_type: str) -> "Occurrences":
        """Those of a type."""
        if self.types.count(event_type) == len(self.types):
            return self
        chosen = [one == event_type for one in self.types]
        return Occurrences(
            list(compress(self.numbers, chosen)),
            list(compress(self.aliases, chosen)),
            list(compress(self.types, chosen)),
            list(compress(self.timestamps, chosen)),
            list(compress(self.properties, chosen)),
        )


def occurrences(events: Iterable[tuple[int, int, str, int, str]]) -> Occurrences:
    """The columns of stored events: number, alias number, type, microseconds since 1970, JSON."""
    found = Occurrences([], [], [], [], [])
    for event_no, alias, event_type, at, properties in events:
        found.extend([event_no], [alias], [event_type], [at], [properties.encode()])
    return found


class Rule(msgspec.Struct, frozen=True):
    """A metric, ready to count."""

    metric: Metric
    take: Callable[[Sequence[Properties]], list[Counted | None]]
    is_sum: bool
    is_unique: bool
    # Whether every event of the type counts, and nothing but how many there are matters.
    is_count: bool


def rules(metrics: Iterable[Metric]) -> Rules:
    """Metrics by the type of event that they count."""
    found: dict[str, tuple[Rule, ...]] = {}
    for one in metrics:
        ready = Rule(
            metric=one,
            take=metric.counted_all(one),
            is_sum=one.aggregation in {Aggregation.SUM, Aggregation.AVERAGE},
            is_unique=one.aggregation is Aggregation.UNIQUE,
            is_count=one.aggregation is Aggregation.COUNT and one.is_complete and not one.reads_properties,
        )
        found[one.event_type] = (*found.get(one.event_type, ()), ready)
    return found


def fold(deltas: Deltas, wanted: Rules, *, account: int, events: Occurrences, sign: int = 1) -> None:
    """Add one account's events to the differences, or take them back with sign -1.

    Metric by metric and column by column: half the cost of going event by event.
    """
    for event_type in {*events.types} & wanted.keys():
        found = events.of_type(event_type)
        slots = [at // SLOT_MICROSECONDS for at in found.timestamps]
        properties: Sequence[Properties] = ()
        for rule in wanted[event_type]:
            if rule.is_count:
                counts = Counter(zip(found.aliases, slots, strict=True))
                _add(deltas, rule, account, {(*spot, 0): [count, None] for spot, count in counts.items()}, sign)
                continue
            if rule.metric.reads_properties and not properties:
                properties = metric.decode_all(found.properties)
            _fold(deltas, rule, account, found, (slots, properties), sign)


def _fold(
    deltas: Deltas,
    rule: Rule,
    account: int,
    found: Occurrences,
    read: tuple[Sequence[int], Sequence[Properties]],
    sign: int,
) -> None:
    """One metric that looks into events. `read`: what was read of them before, for all metrics."""
    slots, properties = read
    taken = rule.take(properties) if properties else [1] * len(slots)
    if not rule.metric.is_complete:
        # Events of these numbers wait for the loop that folds history.
        waiting = range(rule.metric.folded_to, rule.metric.born_no)
        taken = [None if one in waiting else value for one, value in zip(found.numbers, taken, strict=True)]
    groups: Sequence[int | str] = [0] * len(slots)
    if rule.metric.group_by:
        groups = metric.groups(rule.metric.group_by, properties)
    places = list(zip(found.aliases, slots, groups, strict=True))
    if not rule.metric.is_additive:
        _add_points(deltas, (account, rule.metric.number), found, (places, taken), sign)
        return
    if rule.is_unique:
        _add_members(deltas, (account, rule.metric.number), places, taken, sign)
    _add(deltas, rule, account, _cells(places, taken, is_sum=rule.is_sum), sign)


def _cells(places: Sequence[_Place], taken: Sequence[Any], *, is_sum: bool) -> dict[_Place, tuple[int, Any]]:
    """How many events were counted at each place, and what they add up to."""
    if None in taken:
        places = list(compress(places, [value is not None for value in taken]))
        taken = [value for value in taken if value is not None]
    counts = Counter(places)
    if not is_sum:
        return {place: (count, None) for place, count in counts.items()}
    totals: dict[_Place, Any] = dict.fromkeys(counts, 0)
    if {*map(type, taken)} <= {int}:
        for place, value in zip(places, taken, strict=True):
            totals[place] += value
    else:
        # Decimals never with an operator: that would round to the ambient precision.
        for place, value in zip(places, taken, strict=True):
            totals[place] = add(totals[place], value)
    return {place: (count, totals[place]) for place, count in counts.items()}


def _add(deltas: Deltas, rule: Rule, account: int, cells: Mapping[_Place, Sequence[Any]], sign: int) -> None:
    for place, (events, total) in cells.items():
        if place[2]:
            deltas.groups.add((account, str(place[2])))
        cell = deltas.cells.setdefault((account, rule.metric.number, *place), [0, 0 if rule.is_sum else None])
        cell[0] += sign * events
        if rule.is_sum:
            # Not even a sign with an operator: that would round as well.
            cell[1] = add(cell[1], total) if sign > 0 else number.subtract(cell[1], total)


def _add_members(
    deltas: Deltas,
    of: tuple[int, int],
    places: Sequence[_Place],
    taken: Sequence[Counted | None],
    sign: int,
) -> None:
    """`of`: account and metric."""
    for (place, value), events in Counter(zip(places, taken, strict=True)).items():
        if value is not None:
            member = (*of, *place, counter.member_value(str(value)))
            deltas.members[member] = deltas.members.get(member, 0) + sign * events


def _add_points(
    deltas: Deltas,
    of: tuple[int, int],
    found: Occurrences,
    placed: tuple[Sequence[_Place], Sequence[Counted | None]],
    sign: int,
) -> None:
    """`of`: account and metric."""
    for event_no, at, place, value in zip(found.numbers, found.timestamps, *placed, strict=True):
        if value is None or isinstance(value, str):
            continue
        if place[2]:
            deltas.groups.add((of[0], str(place[2])))
        # What came stands first, what went second.
        deltas.points.setdefault((*of, *place), ([], []))[sign < 0].append((at, event_no, value))
