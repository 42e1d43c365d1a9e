"""Quarter hours and the days of a zone: every slot has one day, and a day is a run of slots."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from rating import period
from store import bucket

ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Chatham", "America/St_Johns", "Pacific/Apia"]


def test_slots_begin_at_quarter_hours() -> None:
    at = datetime(2025, 3, 1, 10, 7, tzinfo=UTC)

    assert bucket.slot_start(bucket.slot_until(at)) == datetime(2025, 3, 1, 10, tzinfo=UTC)
    assert bucket.slot_start(bucket.slot_from(at)) == datetime(2025, 3, 1, 10, 15, tzinfo=UTC)


def test_an_instant_on_a_border_begins_a_slot() -> None:
    at = datetime(2025, 3, 1, 10, 15, tzinfo=UTC)

    assert bucket.slot_from(at) == bucket.slot_until(at)


@pytest.mark.parametrize("zone", [ZoneInfo(name) for name in ZONES], ids=ZONES)
@pytest.mark.parametrize("first", [date(2025, 3, 8), date(2025, 11, 1), date(2010, 11, 5), date(2011, 12, 28)])
def test_days_are_runs_of_slots_that_meet(zone: ZoneInfo, first: date) -> None:
    slots = range(bucket.day_slot(first, zone), bucket.day_slot(first + timedelta(days=4), zone))

    days = [bucket.day_of(slot, zone) for slot in slots]

    assert days == sorted(days)
    assert all(
        period.day_start(day, zone) <= bucket.slot_start(slot) < period.day_start(day + timedelta(days=1), zone)
        for slot, day in zip(slots, days, strict=True)
    )


@pytest.mark.slow
def test_every_day_of_every_zone_begins_with_a_slot() -> None:
    days = [date(2000, 1, 1) + timedelta(days=7 * week) for week in range(60 * 52)]

    for name in sorted(available_timezones() - {"localtime"}):
        zone = ZoneInfo(name)
        ragged = [day for day in days if bucket.slot_start(bucket.day_slot(day, zone)) != period.day_start(day, zone)]
        assert not ragged, name


def test_the_first_whole_day_of_a_range() -> None:
    utc = ZoneInfo("UTC")
    midnight = bucket.day_slot(date(2025, 3, 2), utc)

    assert bucket.day_from(midnight, utc) == date(2025, 3, 2)
    assert bucket.day_from(midnight - 95, utc) == date(2025, 3, 2)
    assert bucket.day_from(midnight + 1, utc) == date(2025, 3, 3)
