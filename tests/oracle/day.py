"""Days: the oracle's calendar. It walks from day to day and computes no border; ends are inclusive, as on paper."""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache

from rating.period import Frequency

ONE = timedelta(days=1)
MONTHS = {Frequency.MONTHLY: 1, Frequency.QUARTERLY: 3, Frequency.HALF_YEARLY: 6, Frequency.YEARLY: 12}
DAYS = {Frequency.WEEKLY: 7, Frequency.DAILY: 1, Frequency.ON_DEMAND: 1}
# Longer than the longest period, so that every full period has both its ends among the days that are walked.
REACH = timedelta(days=1900)


def walk(first: date, last: date) -> Iterator[date]:
    """Every day from the first to the last, both included."""
    day = first
    while day <= last:
        yield day
        day += ONE


def is_billing_day(day: date, anchor_day: int) -> bool:
    """The anchor day itself, or the last day of a month that is too short to have it (design: anchor 29-31 clamps)."""
    is_last_of_month = (day + ONE).day == 1
    return day.day == anchor_day or (is_last_of_month and day.day < anchor_day)


@lru_cache(maxsize=256)
def month_numbers(anchor: date, anchor_day: int) -> dict[date, int]:
    """The billing days around an anchor, counted from the first one on or after it (spec section 12.3)."""
    days = [day for day in walk(anchor - REACH, anchor + REACH) if is_billing_day(day, anchor_day)]
    first = next(index for index, day in enumerate(days) if day >= anchor)
    return {day: index - first for index, day in enumerate(days)}


def starts_period(day: date, frequency: Frequency, *, times: int, anchor: date, anchor_day: int) -> bool:
    """Whether a full period of the frequency, or of so many times it, begins on the day."""
    if frequency in DAYS:
        return (day - anchor).days % (DAYS[frequency] * times) == 0
    number = month_numbers(anchor, anchor_day).get(day)
    return number is not None and number % (MONTHS[frequency] * times) == 0


@lru_cache(maxsize=8192)
def full_period(day: date, frequency: Frequency, *, times: int = 1, anchor: date, anchor_day: int) -> tuple[date, date]:
    """The first and the last day of the full period around a day."""
    first, last = day, day
    while not starts_period(first, frequency, times=times, anchor=anchor, anchor_day=anchor_day):
        first -= ONE
    while not starts_period(last + ONE, frequency, times=times, anchor=anchor, anchor_day=anchor_day):
        last += ONE
    return first, last


def count(first: date, last: date, *, valid_from: date | None = None, valid_until: date | None = None) -> int:
    """How many of the days are valid; `valid_until` is the first day that is not."""
    days = walk(first, last)
    return sum((valid_from is None or day >= valid_from) and (valid_until is None or day < valid_until) for day in days)
