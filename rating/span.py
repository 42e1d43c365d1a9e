"""What events come to under MAX, MIN, LATEST and WEIGHTED, whose differences do not add up. Pure.

    point    (instant in microseconds, event number, value)
    Span     what a run of points comes to; `join` puts two together

MAX, MIN    total is the extreme
LATEST      total is the value of the last point. Of several at one instant the one with the highest number is the last
WEIGHTED    a point sets the level until the next one. total is level x microseconds from the first to the last point;
            before the first the level comes from earlier, after the last it goes on: `area` adds both

`join` answers None where only the points themselves could tell: WEIGHTED, when new ones lie before old ones.
"""

import itertools
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypeAlias

import msgspec

from rating import number
from rating.metric import Aggregation

Value: TypeAlias = int | Decimal
Point: TypeAlias = tuple[int, int, Value]

MICROSECONDS_PER_HOUR = 3_600_000_000


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of points comes to. The last four are for LATEST and WEIGHTED."""

    events: int
    total: Value
    first_at: int | None = None
    last_at: int | None = None
    last_no: int | None = None
    level: Value | None = None


def span(aggregation: Aggregation, points: Sequence[Point]) -> Span:
    """The span of some points, at least one, in any order."""
    match aggregation:
        case Aggregation.MAX:
            return Span(events=len(points), total=max(value for _, _, value in points))
        case Aggregation.MIN:
            return Span(events=len(points), total=min(value for _, _, value in points))
        case Aggregation.LATEST:
            at, event_no, value = max(points)
            return Span(events=len(points), total=value, last_at=at, last_no=event_no)
        case Aggregation.WEIGHTED:
            return _weighted(sorted(points))
        case _:
            raise AssertionError(f"{aggregation} adds up")


def join(aggregation: Aggregation, old: Span, new: Span) -> Span | None:
    """Both together; None if that cannot be told from the two. For WEIGHTED `new` must lie behind `old`."""
    events = old.events + new.events
    match aggregation:
        case Aggregation.MAX:
            return Span(events=events, total=max(old.total, new.total))
        case Aggregation.MIN:
            return Span(events=events, total=min(old.total, new.total))
        case Aggregation.LATEST:
            last = max(old, new, key=_last)
            return msgspec.structs.replace(last, events=events)
        case Aggregation.WEIGHTED:
            return _joined(old, new, events=events) if _first(new) > _last(old)[0] else None
        case _:
            raise AssertionError(f"{aggregation} adds up")


def is_answer(aggregation: Aggregation, old: Span, points: Iterable[Point]) -> bool:
    """Whether the span would be another one without one of these of its points."""
    match aggregation:
        case Aggregation.MAX:
            return any(value >= old.total for _, _, value in points)
        case Aggregation.MIN:
            return any(value <= old.total for _, _, value in points)
        case Aggregation.LATEST:
            return any((at, event_no) >= _last(old) for at, event_no, _ in points)
        case Aggregation.WEIGHTED:
            return True
        case _:
            raise AssertionError(f"{aggregation} adds up")


def area(spans: Iterable[Span], *, start: int, end: int, level: Value) -> Value:
    """Level x microseconds from `start` to `end`; `level` held at the start, the spans lie between, in order."""
    total: Value = 0
    at = start
    for one in spans:
        total = _add(total, _add(_rectangle(level, _first(one) - at), one.total))
        at, level = _last(one)[0], _level(one)
    return _add(total, _rectangle(level, end - at))


def _weighted(points: Sequence[Point]) -> Span:
    total: Value = 0
    for (at, _, value), (until, _, _) in itertools.pairwise(points):
        total = _add(total, _rectangle(value, until - at))
    last_at, last_no, level = points[-1]
    return Span(events=len(points), total=total, first_at=points[0][0], last_at=last_at, last_no=last_no, level=level)


def _joined(old: Span, new: Span, *, events: int) -> Span:
    between = _rectangle(_level(old), _first(new) - _last(old)[0])
    total = _add(_add(old.total, between), new.total)
    return msgspec.structs.replace(new, events=events, total=total, first_at=_first(old))


def _rectangle(level: Value, microseconds: int) -> Value:
    return number.multiply(Decimal(level), Decimal(microseconds))


def _add(one: Value, other: Value) -> Value:
    # Never with an operator: that would round to the ambient precision.
    return number.add(Decimal(one), Decimal(other))


def _first(one: Span) -> int:
    if one.first_at is None:
        raise AssertionError("a span without a beginning")
    return one.first_at


def _last(one: Span) -> tuple[int, int]:
    if one.last_at is None or one.last_no is None:
        raise AssertionError("a span without an end")
    return one.last_at, one.last_no


def _level(one: Span) -> Value:
    if one.level is None:
        raise AssertionError("a span without a level")
    return one.level
