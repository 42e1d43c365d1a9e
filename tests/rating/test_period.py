"""Periods: anchors clamp and return, grids leave no gap, days begin where their date begins, in odd zones too."""

from datetime import UTC, date, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import period
from rating.error import InvalidPeriod
from rating.period import DAYS, MONTHS, Frequency, Period
from tests.build import day, days, month

DAY = timedelta(days=1)
TEN_YEARS = timedelta(days=3653)
ANCHOR_DAYS = range(1, 32)
STARTS = [date(2019, 12, 31), date(2020, 2, 29), date(2023, 3, 14), date(2025, 1, 1)]
ZONES = [
    *("UTC", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "Africa/Casablanca", "America/New_York"),
    *("America/St_Johns", "Asia/Gaza", "America/Havana", "Asia/Beirut", "Atlantic/Azores", "Pacific/Chatham"),
    *("America/Sao_Paulo", "Europe/Dublin", "Asia/Tehran", "Africa/Cairo"),
]


def walked(grid, start):
    """The adjacent periods of ten years."""
    found = [grid.around(start)]
    while found[-1].end < start + TEN_YEARS:
        found.append(grid.around(found[-1].end))
    return found


@pytest.mark.parametrize("frequency", MONTHS)
@pytest.mark.parametrize("anchor_day", ANCHOR_DAYS)
def test_adjacent_periods_meet_over_ten_years(frequency, anchor_day):
    for start in STARTS:
        found = walked(period.grid(start, frequency=frequency, anchor_day=anchor_day), start)

        assert found[0].start <= start < found[0].end
        assert all(left.end == right.start for left, right in pairwise(found))


@pytest.mark.parametrize("frequency", DAYS)
@pytest.mark.parametrize("start", STARTS)
def test_weeks_and_days_meet_from_the_start_over_ten_years(frequency, start):
    found = walked(period.grid(start, frequency=frequency, anchor_day=31), start)

    assert found[0].start == start
    assert {one.days for one in found} == {DAYS[frequency]}
    assert all(left.end == right.start for left, right in pairwise(found))


@pytest.mark.parametrize("interval", [2, 3, 7])
def test_windows_of_several_periods_meet_and_hold_whole_ones(interval):
    start = date(2023, 3, 14)
    windows = walked(period.grid(start, frequency=Frequency.MONTHLY, anchor_day=31, interval=interval), start)
    months = walked(period.grid(start, frequency=Frequency.MONTHLY, anchor_day=31), windows[0].start)

    assert all(left.end == right.start for left, right in pairwise(windows))
    assert {window.start for window in windows[:-2]} <= {one.start for one in months}


@pytest.mark.parametrize("frequency", [*MONTHS, *DAYS])
@pytest.mark.parametrize("anchor_day", ANCHOR_DAYS)
def test_every_day_lies_in_the_period_around_it(frequency, anchor_day):
    grid = period.grid(date(2023, 3, 14), frequency=frequency, anchor_day=anchor_day)
    for found in walked(grid, date(2023, 3, 14))[: 36 // MONTHS.get(frequency, 1)]:
        inside = [found.start + DAY * n for n in range(found.days)]

        assert {grid.around(one) for one in inside} == {found}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("frequency", [*MONTHS, Frequency.WEEKLY])
def test_adjacent_periods_meet_as_instants(frequency, zone):
    for anchor_day in (1, 15, 31):
        grid = period.grid(date(2007, 12, 30), frequency=frequency, anchor_day=anchor_day)
        found = [period.instants(one, ZoneInfo(zone)) for one in walked(grid, date(2007, 12, 30))]

        assert all(start < end for start, end in found)
        assert all(left[1] == right[0] for left, right in pairwise(found))


@pytest.mark.parametrize("zone", ZONES)
def test_a_day_begins_at_the_first_instant_that_bears_its_date(zone):
    local = ZoneInfo(zone)
    for number in range(date(2005, 1, 1).toordinal(), date(2035, 1, 1).toordinal()):
        one = date.fromordinal(number)
        begin = period.day_start(one, local)

        assert (begin - timedelta(microseconds=1)).astimezone(local).date() < one <= begin.astimezone(local).date()


@pytest.mark.parametrize(
    ("zone", "text", "instant"),
    [
        ("UTC", "2025-03-01", "2025-03-01T00:00:00+00:00"),
        ("America/New_York", "2025-03-01", "2025-03-01T05:00:00+00:00"),
        ("America/New_York", "2025-04-01", "2025-04-01T04:00:00+00:00"),
        ("Asia/Kathmandu", "2025-03-01", "2025-02-28T18:15:00+00:00"),
        ("Asia/Beirut", "2025-03-30", "2025-03-29T22:00:00+00:00"),  # midnight is skipped
        ("America/Havana", "2025-11-02", "2025-11-02T04:00:00+00:00"),  # midnight strikes twice
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00+00:00"),  # the day that was left out
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00+00:00"),
    ],
)
def test_day_start(zone, text, instant):
    begin = period.day_start(day(text), ZoneInfo(zone))

    assert begin.isoformat() == instant
    assert begin.tzinfo is UTC


@pytest.mark.parametrize(
    ("start", "anchor_day", "frequency", "borders"),
    [
        ("2025-01-31", 31, Frequency.MONTHLY, "2025-01-31 2025-02-28 2025-03-31 2025-04-30 2025-05-31"),
        ("2024-01-31", 31, Frequency.MONTHLY, "2024-01-31 2024-02-29 2024-03-31"),
        ("2025-01-29", 29, Frequency.MONTHLY, "2025-01-29 2025-02-28 2025-03-29"),
        ("2025-01-30", 30, Frequency.MONTHLY, "2025-01-30 2025-02-28 2025-03-30"),
        ("2025-01-28", 28, Frequency.MONTHLY, "2025-01-28 2025-02-28 2025-03-28"),
        ("2025-02-28", 31, Frequency.MONTHLY, "2025-02-28 2025-03-31"),
        ("2024-02-28", 31, Frequency.MONTHLY, "2024-01-31 2024-02-29 2024-03-31"),
        ("2023-03-14", 1, Frequency.MONTHLY, "2023-03-01 2023-04-01 2023-05-01"),
        ("2023-03-14", 14, Frequency.MONTHLY, "2023-03-14 2023-04-14"),
        ("2023-03-14", 15, Frequency.MONTHLY, "2023-02-15 2023-03-15 2023-04-15"),
        ("2023-03-14", 1, Frequency.QUARTERLY, "2023-01-01 2023-04-01 2023-07-01"),
        ("2024-11-30", 31, Frequency.QUARTERLY, "2024-11-30 2025-02-28 2025-05-31 2025-08-31"),
        ("2023-03-14", 1, Frequency.HALF_YEARLY, "2022-10-01 2023-04-01 2023-10-01"),
        ("2023-03-14", 1, Frequency.YEARLY, "2022-04-01 2023-04-01 2024-04-01"),
        ("2024-02-29", 29, Frequency.YEARLY, "2024-02-29 2025-02-28 2026-02-28 2027-02-28 2028-02-29"),
        ("2025-12-31", 31, Frequency.MONTHLY, "2025-12-31 2026-01-31"),
    ],
)
def test_borders_clamp_to_the_last_day_and_return(start, anchor_day, frequency, borders):
    found = walked(period.grid(day(start), frequency=frequency, anchor_day=anchor_day), day(start))
    expected = [day(text) for text in borders.split()]

    assert [one.start for one in found][: len(expected)] == expected


@given(
    st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.sampled_from(ANCHOR_DAYS), st.sampled_from(sorted(MONTHS, key=str))
)
def test_the_first_border_is_the_first_billing_day_from_the_start_on(start, anchor_day, frequency):
    first = next(one for one in (start + DAY * n for n in range(32)) if is_billing_day(one, anchor_day))
    around = period.grid(start, frequency=frequency, anchor_day=anchor_day).around(start)

    assert first in {around.start, around.end}


def is_billing_day(one, anchor_day):
    is_last = (one + DAY).day == 1
    return one.day == anchor_day or (is_last and one.day < anchor_day)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2025-02-01", "2025-03-01", ("2025-02-01", "2025-03-01")),
        ("2025-01-01", None, ("2025-02-01", "2025-03-01")),
        ("2025-02-10", None, ("2025-02-10", "2025-03-01")),
        ("2025-01-01", "2025-02-10", ("2025-02-01", "2025-02-10")),
        ("2025-02-10", "2025-02-11", ("2025-02-10", "2025-02-11")),
    ],
)
def test_a_period_is_cut_to_what_lies_inside(start, end, expected):
    assert month("2025-02").cut(start=day(start), end=day(end) if end else None) == days(*expected)


@pytest.mark.parametrize("end", ["2025-02-01", "2025-01-31"])
def test_an_empty_period_is_refused(end):
    with pytest.raises(InvalidPeriod, match="start on 2025-02-01"):
        days("2025-02-01", end)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, 28),
        ("2025-02-01", "2025-03-01", 28),
        ("2025-02-27", None, 2),
        (None, "2025-02-02", 1),
        ("2025-02-10", "2025-02-11", 1),
        (None, "2025-02-01", 0),
        ("2025-03-01", None, 0),
        ("2024-01-01", "2024-02-01", 0),
    ],
)
def test_days_within_a_range_are_counted(start, end, expected):
    first, last = (day(text) if text else None for text in (start, end))

    assert month("2025-02").days_within(start=first, end=last) == expected


@pytest.mark.parametrize(
    ("start", "months", "expected"),
    [("2025-01-31", 1, "2025-02-28"), ("2025-01-15", 12, "2026-01-15"), ("2024-02-29", 12, "2025-02-28")],
)
def test_the_same_day_of_a_later_month_clamps(start, months, expected):
    assert period.month_later(day(start), months=months) == day(expected)


def test_days_are_counted():
    assert month("2024-02").days == 29
    assert month("2025-12") == Period(date(2025, 12, 1), date(2026, 1, 1))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("2025-01", "2025-03"), ("2025-02", "2025-03"), ("2025-01", "2025-03")),
        (("2025-02", "2025-03"), ("2025-01", "2025-03"), ("2025-01", "2025-03")),
        (("2025-01", "2025-02"), ("2025-02", "2025-03"), ("2025-01", "2025-03")),
        (("2025-03", "2025-04"), ("2025-01", "2025-02"), ("2025-01", "2025-04")),
    ],
    ids=["holds it", "lies in it", "meets it", "lies behind it"],
)
def test_periods_are_joined_from_the_first_day_to_the_last(one, other, expected):
    first, second, whole = (Period(day(f"{start}-01"), day(f"{end}-01")) for start, end in (one, other, expected))

    assert first.joined(second) == whole
