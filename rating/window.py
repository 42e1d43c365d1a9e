"""Windows: a range of instants, cut at the hours, days, weeks, months or billing periods of a time zone. Pure.

Windows meet without a gap; the first and the last are cut to the range. A week begins on Monday. Days are those of
rating.period, so a day has 23, 24 or 25 hours; an hour in which a clock jumps by half an hour goes on to the next full
one. A day that a zone left out has no window.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import TypeAlias, assert_never
from zoneinfo import ZoneInfo

from rating.period import Frequency, Grid, Period, day_start, grid

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)

Range: TypeAlias = tuple[datetime, datetime]


class Window(StrEnum):
    """How a range is cut."""

    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    BILLING_PERIOD = "BILLING_PERIOD"


def windows(
    window: Window, *, start: datetime, end: datetime, zone: ZoneInfo, periods: Grid | None = None
) -> Iterator[Range]:
    """The windows of a range, in order; `periods` is the grid of BILLING_PERIOD."""
    borders = _hours(start, zone) if window is Window.HOUR else _days(window, start, zone, periods)
    for first, last in pairwise(borders):
        if first >= end:
            return
        if max(first, start) < min(last, end):
            yield max(first, start), min(last, end)


def around(window: Window, *, instant: datetime, zone: ZoneInfo, periods: Grid | None = None) -> Range:
    """The whole window that an instant lies in."""
    borders = _hours(instant, zone) if window is Window.HOUR else _days(window, instant, zone, periods)
    return next((first, last) for first, last in pairwise(borders) if first <= instant < last)


def _hours(start: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    local = start.astimezone(zone)
    at = start.astimezone(UTC) - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    while True:
        yield at
        at += _HOUR
        if beyond := at.astimezone(zone).minute:
            at += timedelta(minutes=60 - beyond)


def _days(window: Window, start: datetime, zone: ZoneInfo, periods: Grid | None) -> Iterator[datetime]:
    # A day earlier: a clock set back over midnight shows a date that has ended.
    day = _around(window, start.astimezone(zone).date() - _DAY, periods).start
    while True:
        yield day_start(day, zone)
        day = _around(window, day, periods).end


def _around(window: Window, day: date, periods: Grid | None) -> Period:
    match window:
        case Window.HOUR | Window.DAY:
            return Period(day, day + _DAY)
        case Window.WEEK:
            monday = day - day.weekday() * _DAY
            return Period(monday, monday + 7 * _DAY)
        case Window.MONTH:
            return _MONTHS(day)
        case Window.BILLING_PERIOD:
            if periods is None:
                raise AssertionError("billing periods need a grid")
            return periods.around(day)
        case _:
            assert_never(window)


_MONTHS: Callable[[date], Period] = grid(date(2000, 1, 1), frequency=Frequency.MONTHLY, anchor_day=1).around
