"""Periods: half-open ranges of dates, and the grid of full periods that a billing day cuts out of the calendar.

A grid has a frequency, an anchor day (1-31) and an origin: the first border on or after the schedule's start.
Weeks and days need no anchor: their borders lie every 7 days, or every day, from the start itself.
Borders lie every 1, 3, 6 or 12 months from the origin, in both directions, on the anchor day; in a month that is
too short the border is the month's last day, and the next one returns to the anchor day (31 Jan, 28 Feb, 31 Mar).
So a schedule that starts between two billing days begins with a partial period up to the first billing day,
whatever the frequency, and all its frequencies meet there; the partial period is measured against the full period
that ends on the same day (spec sections 12.3 and 14, case 25).

Dates become instants in the account's time zone, only here: a day begins at the first instant that bears its date.
"""

from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from zoneinfo import ZoneInfo

import msgspec

from rating.error import InvalidPeriod

# Every month has these days; later ones must be clamped.
_DAYS_EVERYWHERE = 28
# Borders are the same for every schedule with the same billing day; this many are remembered.
BORDERS_KEPT = 2**14


class Frequency(StrEnum):
    """How often a price is billed, in the words of the reference's `billingFrequency`."""

    # Tables and caches are keyed by it in every bill; an enum's own hash is computed in Python.
    __hash__ = str.__hash__

    ONE_TIME = "ONE_TIME"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    YEARLY = "YEARLY"
    WEEKLY = "WEEKLY"
    DAILY = "DAILY"
    ON_DEMAND = "ON_DEMAND"
    PER_EVENT = "PER_EVENT"


# The frequencies that cut the calendar into periods, and their length in months or in days.
MONTHS: Mapping[Frequency, int] = MappingProxyType(
    {Frequency.MONTHLY: 1, Frequency.QUARTERLY: 3, Frequency.HALF_YEARLY: 6, Frequency.YEARLY: 12}
)
DAYS: Mapping[Frequency, int] = MappingProxyType({Frequency.WEEKLY: 7, Frequency.DAILY: 1, Frequency.ON_DEMAND: 1})


class Period(msgspec.Struct, frozen=True, gc=False, order=True):
    """The days from `start` up to, not including, `end`."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise InvalidPeriod(f"a period cannot start on {self.start} and end before {self.end}")

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    def cut(self, *, start: date, end: date | None) -> "Period":
        """The part that lies in [start, end); without an end, all from start on."""
        if self.start >= start and (end is None or self.end <= end):
            return self
        return Period(max(self.start, start), self.end if end is None else min(self.end, end))

    def joined(self, other: "Period") -> "Period":
        """From the first day to the last of both."""
        if self.start <= other.start and self.end >= other.end:
            return self
        return Period(min(self.start, other.start), max(self.end, other.end))

    def days_within(self, *, start: date | None, end: date | None) -> int:
        """How many of its days lie in [start, end); an end that is None is open."""
        first = self.start if start is None or start < self.start else start
        last = self.end if end is None or end > self.end else end
        return max(0, (last - first).days)


class Grid(msgspec.Struct, frozen=True, gc=False):
    """The full periods of `interval` times one frequency.

    `origin` is the month of any border, counted from year 0; for weeks and days it is the ordinal of any border.
    """

    frequency: Frequency
    anchor_day: int
    origin: int
    interval: int = 1

    def around(self, day: date) -> Period:
        """The full period that contains the day."""
        if self.frequency in DAYS:
            return self._days_around(day)
        step = MONTHS[self.frequency] * self.interval
        month = _month_of(day)
        month -= (month - self.origin) % step
        border = _border(month, self.anchor_day)
        if border > day:
            return Period(_border(month - step, self.anchor_day), border)
        return Period(border, _border(month + step, self.anchor_day))

    def _days_around(self, day: date) -> Period:
        step = DAYS[self.frequency] * self.interval
        start = day - timedelta(days=(day.toordinal() - self.origin) % step)
        return Period(start, start + timedelta(days=step))


def grid(start: date, *, frequency: Frequency, anchor_day: int, interval: int = 1) -> Grid:
    """The grid of a schedule that starts on this day: its first border is the first billing day from then on."""
    if frequency in DAYS:
        return Grid(frequency, anchor_day, start.toordinal(), interval)
    month = _month_of(start)
    if _border(month, anchor_day) < start:
        month += 1
    return Grid(frequency, anchor_day, month, interval)


def month_later(day: date, *, months: int) -> date:
    """The same day of a later month, or that month's last day when it is shorter."""
    return _border(_month_of(day) + months, day.day)


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which the day begins in the zone, in UTC.

    Where midnight strikes twice the first one counts; where it is skipped the day begins at the jump (PEP 495, fold=0).
    """
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def instants(period: Period, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The period as a half-open range of instants in UTC. Empty for a day that a zone left out (Apia, 30 Dec 2011)."""
    return day_start(period.start, zone), day_start(period.end, zone)


def _month_of(day: date) -> int:
    return day.year * 12 + day.month - 1


@lru_cache(maxsize=BORDERS_KEPT)
def _border(month: int, anchor_day: int) -> date:
    year, index = divmod(month, 12)
    if anchor_day > _DAYS_EVERYWHERE:
        anchor_day = min(anchor_day, monthrange(year, index + 1)[1])
    return date(year, index + 1, anchor_day)
