"""Times of files: what is read, what is cut, what is refused."""

from zoneinfo import ZoneInfo

import pytest

from usance.importer.timestamp import Stamp, TimestampError, parse

PARIS = ZoneInfo("Europe/Paris")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-01-31T23:59:59Z", "2026-01-31T23:59:59+00:00", id="rfc-3339"),
        pytest.param("2026-01-31 23:59:59+02:00", "2026-01-31T23:59:59+02:00", id="blank-instead-of-T"),
        pytest.param("2026-01-31T23:59:59-0530", "2026-01-31T23:59:59-05:30", id="offset-without-colon"),
        pytest.param("2026-01-31t23:59z", "2026-01-31T23:59:00+00:00", id="lower-case-no-seconds"),
        pytest.param("2026-01-31T23:59:59,25Z", "2026-01-31T23:59:59.25+00:00", id="decimal-comma"),
        pytest.param(" 2026-01-31T23:59:59Z ", "2026-01-31T23:59:59+00:00", id="blanks-around"),
    ],
)
def test_times_with_an_offset_keep_it(text: str, expected: str) -> None:
    assert parse(text, PARIS) == Stamp(expected, zoneless=False)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        pytest.param("2026-01-31 12:00:00", None, "2026-01-31T12:00:00+00:00", id="utc-unless-told"),
        pytest.param("2026-01-31 12:00:00", PARIS, "2026-01-31T12:00:00+01:00", id="winter"),
        pytest.param("2026-07-31 12:00:00", PARIS, "2026-07-31T12:00:00+02:00", id="summer"),
        pytest.param("2026-07-31", PARIS, "2026-07-31T00:00:00+02:00", id="a-date-is-its-midnight"),
        pytest.param("2026-10-25 02:30:00", PARIS, "2026-10-25T02:30:00+02:00", id="twice-is-the-first"),
        pytest.param("2026-03-08 12:00:00", ZoneInfo("America/St_Johns"), "2026-03-08T12:00:00-02:30", id="half-hour"),
    ],
)
def test_times_without_an_offset_belong_to_the_zone(text: str, zone: ZoneInfo | None, expected: str) -> None:
    assert parse(text, zone) == Stamp(expected, zoneless=True)


def test_digits_beyond_the_microsecond_are_cut_not_rounded() -> None:
    assert parse("2023-11-30 23:59:59.9999999", None).text == "2023-11-30T23:59:59.999999+00:00"


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "1700000000", "31/01/2026", "2026-02-30", "2026-01-31 24:00:00", "2026-01-31T12:00:00+25:00"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(TimestampError):
        parse(text, None)


def test_a_time_that_clocks_skip_is_refused() -> None:
    with pytest.raises(TimestampError, match="does not exist in Europe/Paris"):
        parse("2026-03-29 02:30:00", PARIS)
