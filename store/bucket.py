"""Counter slots: quarter hours of event time in UTC, and the days of a time zone they belong to. Pure.

    slot   whole quarter hours since 1970-01-01T00:00Z
    day    a date in the account's zone; it begins where rating.period says it does

Since 2000 every zone on earth has stood at a multiple of a quarter hour from UTC, so every day is a run of whole slots.
"""

import functools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from rating import period

SLOT_MICROSECONDS = 15 * 60 * 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLOT = timedelta(microseconds=SLOT_MICROSECONDS)
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


def slot_start(slot: int) -> datetime:
    """The instant a slot begins at."""
    return _EPOCH + slot * _SLOT


def microseconds(instant: datetime) -> int:
    """An instant as microseconds since 1970 in UTC."""
    return (instant - _EPOCH) // _MICROSECOND


def slot_from(instant: datetime) -> int:
    """The first slot that begins at this instant or later."""
    return -((_EPOCH - instant) // _SLOT)


def slot_until(instant: datetime) -> int:
    """The slot that this instant lies in: the first one that ends after it."""
    return (instant - _EPOCH) // _SLOT


@functools.lru_cache(maxsize=1 << 16)
def day_of(slot: int, zone: ZoneInfo) -> date:
    """The day that a slot belongs to."""
    start = slot_start(slot)
    day = start.astimezone(zone).date()
    # A clock set back over midnight shows a date a second time; the day that began first has ended for good.
    if start >= period.day_start(day + _DAY, zone):
        return day + _DAY
    return day - _DAY if start < period.day_start(day, zone) else day


def day_slot(day: date, zone: ZoneInfo) -> int:
    """The first slot of a day."""
    return slot_from(period.day_start(day, zone))


def day_slots(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """The slots of a day, half-open."""
    return day_slot(day, zone), day_slot(day + _DAY, zone)


def day_from(slot: int, zone: ZoneInfo) -> date:
    """The first day that begins with this slot or later."""
    day = day_of(slot, zone)
    return day if day_slot(day, zone) == slot else day + _DAY
