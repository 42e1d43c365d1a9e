"""Windows meet, cover their range, and begin where the clocks of a zone say."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import period, window
from rating.period import Frequency
from rating.window import Window

ZONES = ["UTC", "Europe/London", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
GRID = period.grid(date(2025, 1, 31), frequency=Frequency.QUARTERLY, anchor_day=31)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cut(name: str, start: str, end: str, zone: str = "UTC") -> list[str]:
    """The beginnings, and the last end."""
    found = list(window.windows(Window(name), start=at(start), end=at(end), zone=ZoneInfo(zone), periods=GRID))
    return [f"{first:%m-%dT%H:%M}" for first, _ in found] + [f"{found[-1][1]:%m-%dT%H:%M}"]


@pytest.mark.parametrize(
    ("name", "start", "end", "zone", "expected"),
    [
        ("DAY", "2025-03-01", "2025-03-03", "UTC", ["03-01T00:00", "03-02T00:00", "03-03T00:00"]),
        (
            "DAY",
            "2025-03-29T12:00",
            "2025-03-31",
            "Europe/London",
            ["03-29T12:00", "03-30T00:00", "03-30T23:00", "03-31T00:00"],
        ),
        ("DAY", "2025-03-01", "2025-03-02", "Asia/Kathmandu", ["03-01T00:00", "03-01T18:15", "03-02T00:00"]),
        ("WEEK", "2025-03-01", "2025-03-11", "UTC", ["03-01T00:00", "03-03T00:00", "03-10T00:00", "03-11T00:00"]),
        ("MONTH", "2025-01-15", "2025-03-02", "UTC", ["01-15T00:00", "02-01T00:00", "03-01T00:00", "03-02T00:00"]),
        (
            "BILLING_PERIOD",
            "2025-01-01",
            "2025-06-01",
            "UTC",
            ["01-01T00:00", "01-31T00:00", "04-30T00:00", "06-01T00:00"],
        ),
        ("HOUR", "2025-03-01T00:20", "2025-03-01T02:00", "UTC", ["03-01T00:20", "03-01T01:00", "03-01T02:00"]),
        (
            "HOUR",
            "2025-03-01T00:00",
            "2025-03-01T01:00",
            "Asia/Kathmandu",
            ["03-01T00:00", "03-01T00:15", "03-01T01:00"],
        ),
        (
            "HOUR",
            "2025-10-26T00:00",
            "2025-10-26T03:00",
            "Europe/London",
            ["10-26T00:00", "10-26T01:00", "10-26T02:00", "10-26T03:00"],
        ),
        # Clocks go from 2:00 to 2:30 at 15:30 UTC: the hour of 1:00 goes on to 3:00.
        (
            "HOUR",
            "2025-10-04T14:30",
            "2025-10-04T17:00",
            "Australia/Lord_Howe",
            ["10-04T14:30", "10-04T16:00", "10-04T17:00"],
        ),
        # 30 December 2011 did not happen there.
        ("DAY", "2011-12-29T10:00", "2011-12-31T10:00", "Pacific/Apia", ["12-29T10:00", "12-30T10:00", "12-31T10:00"]),
    ],
)
def test_a_range_is_cut(name: str, start: str, end: str, zone: str, expected: list[str]) -> None:
    assert cut(name, start, end, zone) == expected


@given(
    name=st.sampled_from(list(Window)),
    start=st.datetimes(datetime(2006, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - given its zone below
    length=st.timedeltas(timedelta(microseconds=1), timedelta(days=40)),
    zone=st.sampled_from(ZONES),
)
def test_windows_meet_and_cover_their_range(name: Window, start: datetime, length: timedelta, zone: str) -> None:
    start = start.replace(tzinfo=UTC)

    found = list(window.windows(name, start=start, end=start + length, zone=ZoneInfo(zone), periods=GRID))

    assert (found[0][0], found[-1][1]) == (start, start + length)
    assert all(first[1] == second[0] for first, second in pairwise(found))
    assert all(first < last for first, last in found)


@given(
    name=st.sampled_from(list(Window)),
    instant=st.datetimes(datetime(2006, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - given its zone below
    zone=st.sampled_from(ZONES),
)
def test_the_window_around_an_instant_contains_it(name: Window, instant: datetime, zone: str) -> None:
    instant = instant.replace(tzinfo=UTC)

    start, end = window.around(name, instant=instant, zone=ZoneInfo(zone), periods=GRID)

    assert start <= instant < end
    assert next(islice(window.windows(name, start=start, end=end, zone=ZoneInfo(zone), periods=GRID), 1)) == (
        start,
        end,
    )


def test_billing_periods_need_a_grid() -> None:
    with pytest.raises(AssertionError):
        list(window.windows(Window.BILLING_PERIOD, start=at("2025-01-01"), end=at("2025-02-01"), zone=ZoneInfo("UTC")))
