"""Events x metrics -> differences of counters. Pure; the one place where usage is counted.

The aggregator folds what arrived, a correction folds what it takes back with sign -1, a new metric folds its history:
all through `fold`, so that they cannot disagree. What adds up is left in columns (store/tally.py) until all events are
folded, and added up then, exactly.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress, repeat
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from rating import metric
from rating.metric import Aggregation, Columns, Counted, Metric
from store import cell, counter, tally
from store.bucket import SLOT_MICROSECONDS
from store.counter import Deltas

Rules: TypeAlias = "Mapping[str, OfType]"


class Occurrences(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What happened to one account, as columns. `types` are places among the names, timestamps microseconds since 1970;
    `lines` are canonical JSON and a line feed for each. What does not live is not counted.
    """

    numbers: NDArray[np.int64]
    aliases: NDArray[np.int32]
    type_names: Sequence[str]
    types: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    lines: bytes
    lives: NDArray[np.bool_]

    def of_type(self, place: int) -> "Occurrences":
        """Those of a type."""
        chosen = self.types == place
        if chosen.all():
            return self
        return msgspec.structs.replace(
            self,
            numbers=self.numbers[chosen],
            aliases=self.aliases[chosen],
            types=self.types[chosen],
            timestamps=self.timestamps[chosen],
            lines=b"".join(compress(self.lines.splitlines(keepends=True), chosen)),
            lives=self.lives[chosen],
        )


def occurrences(events: Iterable[tuple[int, int, str, int, str]]) -> Occurrences:
    """The columns of stored events: number, alias number, type, microseconds since 1970, JSON."""
    numbers, aliases, types, timestamps, properties = zip(*events, strict=True) if (events := [*events]) else [()] * 5
    names = {name: place for place, name in enumerate(dict.fromkeys(types))}
    return Occurrences(
        numbers=np.array(numbers, np.int64),
        aliases=np.array(aliases, np.int32),
        type_names=list(names),
        types=np.array([names[name] for name in types], np.int64),
        timestamps=np.array(timestamps, np.int64),
        lines="".join([f"{text}\n" for text in properties]).encode(),
        lives=np.ones(len(numbers), np.bool_),
    )


class Rule(msgspec.Struct, frozen=True):
    """A metric, ready to count."""

    metric: Metric
    take: Callable[[Columns, int], list[Counted | None]]
    is_sum: bool
    is_unique: bool
    # Whether every event of the type counts, and nothing but how many there are matters.
    is_count: bool


class OfType(msgspec.Struct, frozen=True):
    """What counts a type of event, and the properties that any of it looks at."""

    rules: tuple[Rule, ...]
    names: frozenset[str]


def rules(metrics: Iterable[Metric]) -> Rules:
    """Metrics by the type of event that they count."""
    found: dict[str, OfType] = {}
    for one in metrics:
        ready = Rule(
            metric=one,
            take=metric.counted_all(one),
            is_sum=one.aggregation in {Aggregation.SUM, Aggregation.AVERAGE},
            is_unique=one.aggregation is Aggregation.UNIQUE,
            is_count=one.aggregation is Aggregation.COUNT and not one.reads_properties,
        )
        others = found.get(one.event_type, OfType((), frozenset()))
        found[one.event_type] = OfType((*others.rules, ready), others.names | one.names)
    return found


def fold(deltas: Deltas, wanted: Rules, *, account: int, events: Occurrences, sign: int = 1) -> None:
    """Add one account's events to the differences, or take them back with sign -1: column by column for each metric."""
    for place in np.unique(events.types).tolist():
        if asked := wanted.get(events.type_names[place]):
            found = events.of_type(place)
            read = _Read(found, metric.columns(found.lines, asked.names) if asked.names else {})
            for rule in asked.rules:
                _fold(deltas, rule, account, read, sign)


class _Read:
    """Events of one type, with what was read of them for all metrics."""

    def __init__(self, events: Occurrences, columns: Columns) -> None:
        self.events = events
        self.columns = columns
        self.size = len(events.numbers)
        self.slots = events.timestamps // SLOT_MICROSECONDS


class _Found(msgspec.Struct, frozen=True, eq=False):
    """What a metric counts of these events: which, and what each of those adds and which group it is of."""

    is_counted: NDArray[np.bool_]
    # Nothing where it only matters how many there are.
    taken: Sequence[Any]
    groups: NDArray[np.int64]
    # The texts of groups; none where nothing is grouped.
    texts: Sequence[str]

    def keys(self, of: tuple[int, int], read: _Read) -> list[cell.Key]:
        """Where counters count each; `of`: account and metric."""
        names = map(self.texts.__getitem__, self.groups.tolist()) if self.texts else repeat(0)
        aliases, slots = read.events.aliases[self.is_counted].tolist(), read.slots[self.is_counted].tolist()
        return [(*of, *place) for place in zip(aliases, slots, names, strict=False)]


def _fold(deltas: Deltas, rule: Rule, account: int, read: _Read, sign: int) -> None:
    """One metric."""
    found, of = _found(rule, read), (account, rule.metric.number)
    if found.texts:
        used = np.unique(found.groups).tolist()
        deltas.groups.update([(account, found.texts[group]) for group in used])
    if not rule.metric.is_additive:
        _add_points(deltas, of, read, found, sign)
        return
    if rule.is_unique:
        _add_members(deltas, found.keys(of, read), found.taken, sign)
    counted = tally.Addends(
        aliases=read.events.aliases[found.is_counted],
        slots=read.slots[found.is_counted],
        values=found.taken if rule.is_sum else None,
        groups=found.groups,
        texts=found.texts,
    )
    deltas.tallies[of].add(counted, sign=sign)


def _found(rule: Rule, read: _Read) -> _Found:
    is_counted, numbers = read.events.lives, read.events.numbers
    if not rule.metric.is_complete:
        # Events of these numbers wait for the loop that folds history.
        is_counted = is_counted & ~((numbers >= rule.metric.folded_to) & (numbers < rule.metric.born_no))
    taken: Sequence[Any] = ()
    if not rule.is_count:
        taken = rule.take(read.columns, read.size)
        if None in taken:
            is_counted = is_counted & np.array([value is not None for value in taken])
        if not is_counted.all():
            taken = list(compress(taken, is_counted))
    groups: Sequence[int] = []
    texts: list[str] = []
    if rule.metric.group_by:
        groups, texts = metric.groups(rule.metric.group_by, read.columns)
    places = np.array(groups, np.int64) if texts else np.zeros(read.size, np.int64)
    return _Found(is_counted, taken, places[is_counted], texts)


def _add_members(deltas: Deltas, keys: Sequence[cell.Key], values: Sequence[Any], sign: int) -> None:
    for (key, value), events in Counter(zip(keys, values, strict=True)).items():
        member = (*key, counter.member_value(str(value)))
        deltas.members[member] = deltas.members.get(member, 0) + sign * events


def _add_points(deltas: Deltas, of: tuple[int, int], read: _Read, found: _Found, sign: int) -> None:
    """`of`: account and metric."""
    numbers = read.events.numbers[found.is_counted].tolist()
    timestamps = read.events.timestamps[found.is_counted].tolist()
    for event_no, at, key, value in zip(numbers, timestamps, found.keys(of, read), found.taken, strict=True):
        # What came stands first, what went second.
        deltas.points.setdefault(key, ([], []))[sign < 0].append((at, event_no, value))
