"""What a sender may write, and what becomes of it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter import event, timestamp
from meter.error import EventRefused
from meter.event import Event
from tests.usage import NOW, called

NEW_ID = UUID("0195813c-0000-7000-8000-000000000000")
DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"
# Of rows of a file, and of events of a backfill.
ELSEWHERE = {"BAD_ROW", "OUTSIDE_BACKFILL"}


def read(body: bytes) -> Event:
    return event.decode(body, received_at=timestamp.microseconds(NOW), new_id=lambda: NEW_ID)


def sent(**fields: Any) -> bytes:
    """An event with these fields set; None sends null, msgspec.UNSET leaves the field out."""
    plain = {"customerAlias": "acme", "eventType": "call"}
    return msgspec.json.encode({name: value for name, value in (plain | fields).items() if value is not msgspec.UNSET})


def when(text: str) -> datetime:
    return timestamp.instant(read(sent(eventTimestamp=text)).timestamp)


def test_an_event_keeps_what_was_sent() -> None:
    found = read(msgspec.json.encode(called("e1", tokens=5, model="large")))

    assert (found.customer_event_id, found.customer_alias, found.event_type) == ("e1", "acme", "call")
    assert timestamp.instant(found.timestamp) == datetime(2025, 3, 1, 10, 7, tzinfo=UTC)
    assert found.properties == b'{"model":"large","tokens":5}'


def test_without_id_and_timestamp_they_are_given() -> None:
    found = read(sent(customerEventId=None, eventTimestamp=None))

    assert found.customer_event_id == str(NEW_ID)
    assert timestamp.instant(found.timestamp) == NOW
    assert not found.has_own_timestamp


@pytest.mark.parametrize(
    ("timestamp", "instant"),
    [
        ("2025-01-31T23:59:59Z", datetime(2025, 1, 31, 23, 59, 59, tzinfo=UTC)),
        ("2025-02-01T01:00:00+02:00", datetime(2025, 1, 31, 23, tzinfo=UTC)),
        ("2025-01-31t23:59:59.5z", datetime(2025, 1, 31, 23, 59, 59, 500_000, tzinfo=UTC)),
        ("2025-01-31 23:59:59Z", datetime(2025, 1, 31, 23, 59, 59, tzinfo=UTC)),
        # Never rounded into the next period.
        ("2025-01-31T23:59:59.9999999999Z", datetime(2025, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
        ("2025-03-10T12:05:00Z", datetime(2025, 3, 10, 12, 5, tzinfo=UTC)),
    ],
)
def test_timestamps_are_exact_to_the_microsecond(timestamp: str, instant: datetime) -> None:
    assert when(timestamp) == instant


@pytest.mark.parametrize(
    "timestamp",
    [
        *("2025-01-31", "2025-01-31T10:00:00", "2025-01-31T10:00Z", "20250131T100000Z", "2025-W05-5T10:00:00Z"),
        *("2025-02-30T10:00:00Z", "2025-01-31T24:00:00Z", "2025-01-31T23:59:60Z", "2025-01-31T10:00:00+0100"),
        *("2025-01-31T10:00:00+24:00", "1999-12-31T23:59:59Z", "0001-01-01T00:00:00+05:00", "2101-01-01T00:00:00Z"),
        *("2025-03-10T12:05:00.000001Z", "", "now", "٢٠٢٥-01-31T10:00:00Z", "1740000000"),
    ],
)
def test_other_timestamps_are_refused(timestamp: str) -> None:
    with pytest.raises(EventRefused) as refused:
        when(timestamp)

    assert (refused.value.code, refused.value.key) == ("INVALID_VALUE", "eventTimestamp")


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (b"1", b"1"),
        (b"1.0", b"1"),
        (b"-0", b"0"),
        (b"-0.0", b"0"),
        (b"1e2", b"100"),
        (b"1.50", b"1.5"),
        (b"1E-18", b"0.000000000000000001"),
        (b"0.10000000000000000000000", b"0.1"),
        (b"99999999999999999999", b"99999999999999999999"),
        (b"-99999999999999999999.999999999999999999", b"-99999999999999999999.999999999999999999"),
        (b"12345678901234567890.5", b"12345678901234567890.5"),
    ],
)
def test_numbers_are_kept_exactly_and_plainly(number: bytes, kept: bytes) -> None:
    found = read(b'{"customerAlias":"a","eventType":"t","eventProperties":{"n":%b}}' % number)

    assert found.properties == b'{"n":%b}' % kept


@pytest.mark.parametrize(
    "number",
    [
        *(b"100000000000000000000", b"1e20", b"-1e20", b"1E-19", b"0.1234567890123456789", b"1e400", b"1e-400"),
        *(b"9" * 400, b"9" * 5_000, b"0." + b"1" * 200, b"1e999999999", b"1e99999999999999999999"),
    ],
)
def test_numbers_that_cannot_be_exact_are_refused(number: bytes) -> None:
    with pytest.raises(EventRefused) as refused:
        read(b'{"customerAlias":"a","eventType":"t","eventProperties":{"n":%b}}' % number)

    assert refused.value.code == "INEXACT_NUMBER"


@pytest.mark.parametrize(
    ("body", "code", "key"),
    [
        (b"", "MALFORMED_JSON", None),
        (b"{", "MALFORMED_JSON", None),
        (b'{"customerAlias":"a","eventType":"t"} x', "MALFORMED_JSON", None),
        (b"\xef\xbb\xbf{}", "MALFORMED_JSON", None),
        (b'{"customerAlias":"\xff","eventType":"t"}', "MALFORMED_JSON", None),
        (b'{"customerAlias":"\\ud800","eventType":"t"}', "MALFORMED_JSON", None),
        (b'{"customerAlias":NaN}', "MALFORMED_JSON", None),
        (b"[" * 100_000, "MALFORMED_JSON", None),
        (b"7", "WRONG_TYPE", None),
        (b"null", "WRONG_TYPE", None),
        (sent(alias="x"), "UNKNOWN_FIELD", "alias"),
        (sent(customerAlias=msgspec.UNSET), "MISSING_FIELD", "customerAlias"),
        (sent(eventType=msgspec.UNSET), "MISSING_FIELD", "eventType"),
        (sent(customerAlias=7), "WRONG_TYPE", "customerAlias"),
        (sent(customerAlias=None), "WRONG_TYPE", "customerAlias"),
        (sent(eventTimestamp=1_740_000_000), "WRONG_TYPE", "eventTimestamp"),
        (sent(customerEventId=7), "WRONG_TYPE", "customerEventId"),
        (sent(eventProperties=[1]), "WRONG_TYPE", "eventProperties"),
        (sent(eventProperties=None), "WRONG_TYPE", "eventProperties"),
        (sent(eventProperties={"a": [1]}), "WRONG_TYPE", "eventProperties.a"),
        (sent(eventProperties={"a": {"b": 1}}), "WRONG_TYPE", "eventProperties.a"),
        (sent(customerAlias=""), "INVALID_VALUE", "customerAlias"),
        (sent(customerAlias="x" * 256), "INVALID_VALUE", "customerAlias"),
        (sent(customerAlias="a\tb"), "INVALID_VALUE", "customerAlias"),
        (sent(eventType="a\u0000"), "INVALID_VALUE", "eventType"),
        (sent(eventType="a\u0085b"), "INVALID_VALUE", "eventType"),
        (sent(customerEventId=""), "INVALID_VALUE", "customerEventId"),
        (sent(customerEventId="x" * 256), "INVALID_VALUE", "customerEventId"),
        (sent(customerEventId="a\u0000"), "INVALID_VALUE", "customerEventId"),
        (sent(eventProperties={"a": "x\u0000"}), "INVALID_VALUE", "eventProperties.a"),
        (sent(eventProperties={"a\u0000": 1}), "INVALID_VALUE", "eventProperties"),
        (sent(eventProperties={f"p{n}": n for n in range(51)}), "INVALID_VALUE", "eventProperties"),
        (sent(eventProperties={"a": "x" * 8_192}), "EVENT_TOO_LARGE", None),
    ],
)
def test_each_way_to_be_wrong_has_its_code(body: bytes, code: str, key: str | None) -> None:
    with pytest.raises(EventRefused) as refused:
        read(body)

    assert (refused.value.code, refused.value.key) == (code, key)


def test_the_table_of_bad_input_names_every_code() -> None:
    [table] = re.findall(r"## What an event may say\n(.+?)\n## ", DOCUMENT.read_text(), re.DOTALL)

    assert (
        set(re.findall(r"`([A-Z]+_[A-Z_]+)`", table)) == {one.code for one in EventRefused.__subclasses__()} - ELSEWHERE
    )


def test_the_limits_themselves_are_allowed() -> None:
    found = read(
        sent(
            customerAlias="ä" * 255,
            eventType="\u00a0 \u2003",
            customerEventId="x" * 255,
            eventProperties={f"p{n}": n for n in range(50)},
        )
    )

    assert found.customer_alias == "ä" * 255


def test_equal_content_has_equal_bytes_and_the_same_digest() -> None:
    one = read(
        b'{"customerAlias":"a","eventType":"t","customerEventId":"e","eventProperties":{"x":1.0,"y":"\xc3\xa4"}}'
    )
    two = read(b'{"eventProperties":{"y":"\\u00e4","x":1e0},"eventType":"t","customerEventId":"e","customerAlias":"a"}')

    assert one == two


@pytest.mark.parametrize(
    "change",
    [
        *({"customerAlias": "b"}, {"eventType": "u"}, {"eventTimestamp": "2025-01-01T00:00:00Z"}),
        *({"eventProperties": {"n": value}} for value in (2, "1", True, None, 1.5)),
        *({"eventProperties": {}}, {"eventProperties": {"m": 1}}),
    ],
)
def test_other_content_has_another_digest(change: dict[str, Any]) -> None:
    plain = {"eventTimestamp": "2025-01-02T00:00:00Z", "eventProperties": {"n": 1}}

    assert read(sent(**plain)).digest != read(sent(**(plain | change))).digest


def test_the_time_of_receipt_is_no_part_of_the_content() -> None:
    later = event.decode(sent(customerEventId="e"), received_at=timestamp.microseconds(NOW) + 1, new_id=lambda: NEW_ID)

    assert later.digest == read(sent(customerEventId="e")).digest


def test_the_id_of_a_refused_event_is_told_where_it_can_be_read() -> None:
    assert event.sender_id(sent(customerEventId="e", alias=1)) == "e"
    assert event.sender_id(b'{"customerEventId":7}') is None
    assert event.sender_id(b"{") is None
    assert event.sender_id(b"[]") is None


JSON_NUMBERS = st.one_of(
    st.integers(-(10**20) + 1, 10**20 - 1), st.decimals(-(10**19), 10**19, allow_nan=False, places=18)
)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), JSON_NUMBERS, max_size=5
    )
)
def test_normalising_twice_changes_nothing(properties: dict[str, Any]) -> None:
    encode: Callable[[Any], bytes] = msgspec.json.Encoder(decimal_format="number").encode
    once = read(encode({"customerAlias": "a", "eventType": "t", "eventProperties": properties})).properties

    again = read(b'{"customerAlias":"a","eventType":"t","eventProperties":%b}' % once).properties

    assert once == again
