"""What each customer's usage is, in plain Python: a list of what was received, walked naively. Nothing of the product.

receive     something arrives in a stream, at a place of the order of receipt
aside       the places of dead letters: nothing counts there until they are replayed; `discard` strikes one out
close       a backfill takes its place in that order, and replaces what it shall; `revert` strikes it out again
map, end    an alias belongs to a customer, from its last owner's end on, until it ends in turn
usage       what a metric says of a customer over a range, from what is counted by now
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import msgspec

Order: TypeAlias = tuple[int, int, int]
Segment: TypeAlias = tuple[str, int, int]

NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,18})?")
HOUR = 3_600_000_000
FIRST, LAST = 0, 1 << 60


class Content(msgspec.Struct, frozen=True):
    """What a sender says. Without `at`, microseconds, the time is not part of it."""

    alias: str
    at: int | None
    n: Any
    model: str | None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was received of an id; `content` None is a cancellation. `by`: a stream or a backfill."""

    order: Order
    id: str
    content: Content | None
    received_at: int
    by: str


class Standing(msgspec.Struct, frozen=True):
    """What counts of an id: its content, its time, and when it was first received."""

    content: Content
    at: int
    since: Order


class Metric(msgspec.Struct, frozen=True):
    """What a metric counts of events. `only`: the models that it counts; `is_negated`: all but those."""

    aggregation: str
    is_grouped: bool = False
    only: tuple[str, ...] = ()
    is_negated: bool = False

    def counts(self, one: Content) -> bool:
        if self.only and (one.model in self.only if self.is_negated else one.model not in self.only):
            return False
        return self.aggregation in {"COUNT", "UNIQUE"} or number(one) is not None


class Model:
    """The list, the loads that are not in it yet, and the owners of aliases."""

    def __init__(self) -> None:
        self.received: list[Receipt] = []
        self.aside: set[Order] = set()
        self.loads: dict[str, list[tuple[str, Content]]] = {}
        self.replacing: dict[str, Sequence[Segment]] = {}
        self.owners: defaultdict[str, list[tuple[str, int, int | None]]] = defaultdict(list)

    def receive(self, one: Receipt) -> None:
        self.received.append(one)

    def discard(self, place: Order) -> None:
        self.received = [one for one in self.received if one.order != place]

    def close(self, backfill: str, *, place: tuple[int, int], positions: Mapping[str, tuple[int, int]]) -> None:
        """`place` is the backfill's; what is counted by then decides what it replaces."""
        load = self.loads[backfill]
        ids = {id_ for id_, _ in load}
        replaced = [
            id_
            for id_, one in self.counted(positions).items()
            if id_ not in ids and one.since[:2] < place and within(one, self.replacing.get(backfill, ()))
        ]
        items: list[tuple[str, Content | None]] = [*((id_, None) for id_ in replaced), *load]
        for index, (id_, content) in enumerate(items):
            self.receive(Receipt(order=(*place, index), id=id_, content=content, received_at=0, by=backfill))

    def revert(self, backfill: str) -> None:
        self.received = [one for one in self.received if one.by != backfill]

    def map(self, alias: str, customer: str) -> None:
        start = self.owners[alias][-1][2] if self.owners[alias] else FIRST
        assert start is not None
        self.owners[alias].append((customer, start, None))

    def end(self, alias: str, at: int) -> None:
        customer, start, _ = self.owners[alias].pop()
        self.owners[alias].append((customer, start, max(at, start + 1)))

    def is_mapped(self, alias: str) -> bool:
        return bool(self.owners[alias]) and self.owners[alias][-1][2] is None

    def counted(self, positions: Mapping[str, tuple[int, int]]) -> dict[str, Standing]:
        """What counts by id, as far as streams are counted."""
        ids: defaultdict[str, list[Receipt]] = defaultdict(list)
        for one in sorted(self.received, key=lambda one: one.order):
            is_read = one.by not in positions or one.order[:2] <= positions[one.by]
            if is_read and one.order not in self.aside:
                ids[one.id].append(one)
        found = {id_: standing(some) for id_, some in ids.items()}
        return {id_: one for id_, one in found.items() if one is not None}

    def segments(self, customer: str, start: int, end: int) -> list[Segment]:
        """When which alias was the customer's."""
        spans = [
            (alias, max(start, first), min(end, LAST if last is None else last))
            for alias, owners in self.owners.items()
            for owner, first, last in owners
            if owner == customer
        ]
        return [(alias, first, last) for alias, first, last in spans if first < last]


def standing(received: Iterable[Receipt]) -> Standing | None:
    """What counts of one id after all that was received of it, in order."""
    now: Standing | None = None
    is_live = False
    for one in received:
        if one.content is None:
            is_live = False
        elif now is None or one.content != now.content:
            before = one.received_at if now is None else now.at
            now = Standing(one.content, before if one.content.at is None else one.content.at, one.order)
            is_live = True
    return now if is_live else None


def within(one: Standing, segments: Iterable[Segment]) -> bool:
    return any(one.content.alias == alias and start <= one.at < end for alias, start, end in segments)


def usage(of: Metric, events: Iterable[Standing], segments: Sequence[Segment]) -> tuple[Fraction, int]:
    """The value, and how many events it comes from."""
    wanted = [one for one in events if of.counts(one.content)]
    inside = sorted((one for one in wanted if within(one, segments)), key=lambda one: one.at)
    numbers = [value for one in inside if (value := number(one.content)) is not None]
    match of.aggregation:
        case "COUNT":
            value = Fraction(len(inside))
        case "UNIQUE":
            value = Fraction(len({str(one.content.n) for one in inside}))
        case "SUM":
            value = sum(numbers, Fraction(0))
        case "AVERAGE":
            value = sum(numbers, Fraction(0)) / max(1, len(numbers))
        case "MAX":
            value = max(numbers, default=Fraction(0))
        case "MIN":
            value = min(numbers, default=Fraction(0))
        case "LATEST":
            value = numbers[-1] if numbers else Fraction(0)
        case _:
            value = sum((weighted(of, wanted, one) for one in segments), Fraction(0))
    return value, len(inside)


def weighted(of: Metric, events: Sequence[Standing], segment: Segment) -> Fraction:
    """Level x hours over one segment; each group has a level of its own."""
    alias, start, end = segment
    groups: defaultdict[str | None, list[Standing]] = defaultdict(list)
    for one in sorted(events, key=lambda one: one.at):
        if one.content.alias == alias:
            groups[one.content.model if of.is_grouped else None].append(one)
    total = Fraction(0)
    for some in groups.values():
        for place, one in enumerate(some):
            until = min(end, some[place + 1].at if place + 1 < len(some) else end)
            since = max(start, one.at)
            if since < until:
                total += (number(one.content) or 0) * Fraction(until - since, HOUR)
    return total


def number(one: Content) -> Fraction | None:
    return Fraction(str(one.n)) if NUMBER.fullmatch(str(one.n)) else None
