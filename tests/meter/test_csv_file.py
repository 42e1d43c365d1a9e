"""A CSV file of events, row by row."""

import io
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from meter import csv_file, timestamp
from meter.csv_file import Row, Source
from meter.error import BadFile
from tests.usage import NOW

HEADER = "eventType,eventTimestamp,customerAlias,customerEventId,eventProperties#tokens,eventProperties#model\n"


def read(text: str | bytes, *, zone: str = "UTC", name: str = "f") -> list[Row]:
    file = io.BytesIO(text.encode() if isinstance(text, str) else text)
    return list(csv_file.rows(Source(file, name, ZoneInfo(zone), timestamp.microseconds(NOW))))


def properties(cells: str) -> bytes:
    [row] = read(HEADER + "call,2025-03-01,acme,e1," + cells)
    assert row.event is not None
    return row.event.properties


def test_a_row_is_an_event() -> None:
    [row] = read(HEADER + "call,2025-03-01T10:07:00+03:00,acme,e1,250,large\n")

    assert (row.number, row.customer_event_id, row.problem) == (2, "e1", None)
    assert row.event is not None
    assert (row.event.customer_event_id, row.event.customer_alias, row.event.event_type) == ("e1", "acme", "call")
    assert timestamp.instant(row.event.timestamp) == datetime(2025, 3, 1, 7, 7, tzinfo=UTC)
    assert row.event.properties == b'{"model":"large","tokens":250}'


@pytest.mark.parametrize(
    ("zone", "instant"),
    [
        ("UTC", datetime(2025, 3, 1, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2025, 2, 28, 18, 30, tzinfo=UTC)),
        ("America/New_York", datetime(2025, 3, 1, 5, tzinfo=UTC)),
    ],
)
def test_a_date_is_the_start_of_the_day_in_the_accounts_zone(zone: str, instant: datetime) -> None:
    [row] = read(HEADER + "call,2025-03-01,acme,e1,,\n", zone=zone)

    assert row.event is not None
    assert timestamp.instant(row.event.timestamp) == instant


@pytest.mark.parametrize(
    ("cells", "kept"),
    [
        (",", b"{}"),
        ("0,", b'{"tokens":0}'),
        ("-1.50,", b'{"tokens":-1.5}'),
        ("007,", b'{"tokens":"007"}'),
        ("1e5,true", b'{"model":"true","tokens":"1e5"}'),
        ('"a,""b""","x\ny"', b'{"model":"x\\ny","tokens":"a,\\"b\\""}'),
    ],
)
def test_plain_numbers_are_numbers_and_empty_cells_are_nothing(cells: str, kept: bytes) -> None:
    assert properties(cells) == kept


def test_a_row_without_an_id_gets_the_same_one_again_from_the_same_file() -> None:
    row = "call,2025-03-01,acme,,,\n"
    found = [one.event.key for one in read(HEADER + row + row, name="f") if one.event]

    assert found == [one.event.key for one in read(HEADER + row + row, name="f") if one.event]
    assert len({*found, *(one.event.key for one in read(HEADER + row, name="g") if one.event)}) == 3


@pytest.mark.parametrize(
    ("row", "code", "key"),
    [
        (b"call,2025-03-01,acme,e1", "BAD_ROW", None),
        (b"call,2025-03-01,acme,e1,,,,", "BAD_ROW", None),
        (b'call,2025-03-01,"a"b,e1,,', "BAD_ROW", None),
        (b"call,2025-03-01,\xff,e1,,", "BAD_ROW", None),
        (b",2025-03-01,acme,e1,,", "INVALID_VALUE", "eventType"),
        (b"call,,acme,e1,,", "INVALID_VALUE", "eventTimestamp"),
        (b"call,2025-02-30,acme,e1,,", "INVALID_VALUE", "eventTimestamp"),
        (b"call,2025-03-01T10:00:00,acme,e1,,", "INVALID_VALUE", "eventTimestamp"),
        (b"call,2025-03-01,,e1,,", "INVALID_VALUE", "customerAlias"),
        (b"call,2025-03-01,acme,e1,100000000000000000000,", "INEXACT_NUMBER", "eventProperties.tokens"),
        (b"call,2025-03-01,acme,e1,0.1234567890123456789,", "INEXACT_NUMBER", "eventProperties.tokens"),
        (b"call,2025-03-01,acme,e1,," + b"x" * 9_000, "EVENT_TOO_LARGE", None),
    ],
)
def test_a_bad_row_is_told_by_its_number_and_the_others_are_read(row: bytes, code: str, key: str | None) -> None:
    good = b"call,2025-03-01,acme,e2,,"

    first, bad, last = read(HEADER.encode() + good + b"\n" + row + b"\r\n" + good)

    assert first.event is not None
    assert (bad.number, bad.event) == (3, None)
    assert bad.problem is not None
    assert (bad.problem.code, bad.problem.key) == (code, key)
    assert (last.number, last.problem) == (4, None)


def test_an_open_quote_ends_the_reading_instead_of_swallowing_rows() -> None:
    found = read(HEADER + 'call,2025-03-01,acme,e1,,\ncall,2025-03-01,"acme,e2,,\ncall,2025-03-01,acme,e3,,\n')

    assert [row.problem.code if row.problem else None for row in found] == [None, "BAD_ROW"]


def test_blank_lines_are_skipped_but_numbered_and_a_byte_order_mark_does_no_harm() -> None:
    found = read("\ufeff" + HEADER + "\n\ncall,2025-03-01,acme,e1,,\n")

    assert [(row.number, row.problem) for row in found] == [(4, None)]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "eventType,eventTimestamp\n",
        "eventType,eventTimestamp,customerAlias,color\n",
        "eventType,eventTimestamp,customerAlias,eventProperties#\n",
        "eventType,eventTimestamp,customerAlias,customerAlias\n",
        "eventType,eventTimestamp,customerAlias,eventProperties#a,eventProperty#a\n",
        '"eventType\n',
        ",".join(["eventType,eventTimestamp,customerAlias", *(f"eventProperties#p{n}" for n in range(70))]),
    ],
)
def test_a_file_needs_its_header(header: str) -> None:
    with pytest.raises(BadFile):
        read(header)


def test_the_older_spelling_of_properties_is_read() -> None:
    [row] = read("eventType,eventTimestamp,customerAlias,eventProperty#tokens\ncall,2025-03-01,acme,5")

    assert row.event is not None
    assert row.event.properties == b'{"tokens":5}'
