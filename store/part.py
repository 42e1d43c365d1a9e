"""Ranges, cut into the pieces that tables of counters can answer. Pure.

    cut(questions) -> Parts     whole days of the account's zone, whole quarter hours before and after them, and
                                edges that do not fill a quarter hour, which are counted from raw events

What the counters do not keep apart (`is_raw`) is raw events from end to end. WEIGHTED needs more than its range: the
level that held when it began.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from rating.metric import Aggregation, Filter, Metric
from store import bucket

# Events have timestamps from 2000 to 2100; whatever a range has beyond is empty.
FIRST = datetime(2000, 1, 1, tzinfo=UTC)
LAST = datetime(2101, 1, 2, tzinfo=UTC)


class Segment(msgspec.Struct, frozen=True):
    """An alias over a half-open range of instants."""

    alias: str
    start: datetime
    end: datetime


class Question(msgspec.Struct, frozen=True):
    """A metric over segments that do not overlap: one quantity is wanted for all of them together.

    `by`: apart for each group of these properties, which the metric's counters keep apart; or `is_raw`.
    `only`: only groups that these filters accept; they too are about what is kept apart.
    """

    metric: Metric
    segments: tuple[Segment, ...]
    by: tuple[str, ...] = ()
    is_raw: bool = False
    only: tuple[Filter, ...] = ()


class Part(msgspec.Struct, frozen=True):
    """A piece of a segment, answered from one table; `start` and `end` are days, slots or instants."""

    question: int
    segment: int
    metric: Metric
    alias: int
    start: Any
    end: Any


class Carry(msgspec.Struct, frozen=True):
    """Where to look for the level at the beginning of a segment: in quarter hours of its day, then in earlier days."""

    question: int
    segment: int
    metric: Metric
    alias: int
    day: Any
    first_slot: int
    slot: int


class Parts:
    """The pieces of all questions, by the table that answers them."""

    def __init__(self) -> None:
        self.days: list[Part] = []
        self.slots: list[Part] = []
        self.members: list[Part] = []
        # Each inside of one quarter hour.
        self.edges: list[Part] = []
        # What counters do not keep apart, of any length.
        self.raws: list[Part] = []
        self.carries: list[Carry] = []
        # Raw events between the last whole quarter hour and a beginning.
        self.carry_edges: list[Part] = []


def cut(questions: Sequence[Question], aliases: Mapping[str, int], zone: ZoneInfo) -> Parts:
    """The pieces of these questions. An alias that no event ever bore has none."""
    parts = Parts()
    for index, question in enumerate(questions):
        for place, segment in enumerate(question.segments):
            start, end = max(segment.start, FIRST), min(segment.end, LAST)
            if segment.alias not in aliases or start >= end:
                continue
            whole = Part(index, place, question.metric, aliases[segment.alias], start, end)
            if question.metric.aggregation is Aggregation.WEIGHTED:
                _carry(parts, whole, zone, is_raw=question.is_raw)
            if question.is_raw:
                parts.raws.append(whole)
            else:
                _cut(parts, whole, zone)
    return parts


def _cut(parts: Parts, whole: Part, zone: ZoneInfo) -> None:
    """Cut one segment at the borders of quarter hours and days."""
    first_slot, last_slot = bucket.slot_from(whole.start), bucket.slot_until(whole.end)
    if first_slot > last_slot:
        # Both ends in one quarter hour.
        parts.edges.append(whole)
        return
    parts.edges += _piece(whole, whole.start, bucket.slot_start(first_slot))
    parts.edges += _piece(whole, bucket.slot_start(last_slot), whole.end)
    if whole.metric.aggregation is Aggregation.UNIQUE:
        parts.members += _piece(whole, first_slot, last_slot)
    first_day, last_day = bucket.day_from(first_slot, zone), bucket.day_of(last_slot, zone)
    if first_day < last_day:
        parts.days += _piece(whole, first_day, last_day)
        parts.slots += _piece(whole, first_slot, bucket.day_slot(first_day, zone))
        parts.slots += _piece(whole, bucket.day_slot(last_day, zone), last_slot)
    else:
        parts.slots += _piece(whole, first_slot, last_slot)


def _carry(parts: Parts, whole: Part, zone: ZoneInfo, *, is_raw: bool) -> None:
    if is_raw:
        parts.carry_edges += _piece(whole, FIRST, whole.start)
        return
    slot = bucket.slot_until(whole.start)
    day = bucket.day_of(slot, zone)
    parts.carries.append(
        Carry(whole.question, whole.segment, whole.metric, whole.alias, day, bucket.day_slot(day, zone), slot)
    )
    parts.carry_edges += _piece(whole, bucket.slot_start(slot), whole.start)


def _piece(whole: Part, start: Any, end: Any) -> list[Part]:
    return [msgspec.structs.replace(whole, start=start, end=end)] if start < end else []
