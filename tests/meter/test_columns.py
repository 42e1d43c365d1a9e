"""Events at once become what they become one by one, or are left to that."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter import columns, entry, event, timestamp
from meter.entry import Block
from meter.error import EventRefused

RECEIVED_AT = timestamp.microseconds(datetime(2025, 3, 1, 12, tzinfo=UTC))
START = timestamp.microseconds(datetime(2000, 1, 1, tzinfo=UTC))
NEW_ID = UUID("019535d9-3df7-79fb-b466-fa907fa17f9e")
PLAIN = {
    "customerEventId": "019535d9-3df7-79fb-b466-fa907fa17f9e",
    "customerAlias": "acme",
    "eventType": "call",
    "eventTimestamp": "2025-03-01T10:07:00.125Z",
    "eventProperties": {"tokens": 17, "model": "s"},
}

IDS = st.one_of(
    st.uuids().map(str),
    st.uuids(version=4).map(str),
    st.sampled_from(["a", "", "x" * 256, "a\0b", "019535D9-3DF7-79FB-B466-FA907FA17F9E", "\u0663" * 36]),
    # Put together, the two look like two UUIDs.
    st.sampled_from(["019535d9-3df7-79fb-b466-fa907fa17f9", "e019535d9-3df7-79fb-b466-fa907fa17f9e"]),
    st.sampled_from(["019535d9-3df7-89fb-b466-fa907fa17f9e", "019535d9-3df7-89fb-7466-fa907fa17f9e"]),
    st.sampled_from(["019535d9-3df7-79fb-b466-fa907fa17f9\n", "019535d9-3df7-79fb-b466\nfa907fa17f9e", "\n"]),
)
TIMES = st.one_of(
    st.integers(-2, 3_187_555_200_000_002).map(lambda after: f"{timestamp.instant(START + after).isoformat()[:-6]}Z"),
    st.sampled_from(["2025-03-01T10:07:00Z", "2025-03-01t10:07:00.5z", "2025-03-01 10:07:00.125+05:45", "", "now"]),
    st.sampled_from(["2025-03-01T12:05:00.000Z", "2025-03-01T12:05:00.001Z", "2025-02-30T10:07:00.125Z"]),
    st.sampled_from(["2025-03-01T10:07:00.12\u0665Z", "2025-03-01T10:07:00.1_5Z", "2025-03-01T10:07:00.125z"]),
    st.sampled_from(["2025-03-01T10:07:00,125Z", "2025-03-01T10:07:60.125Z", "2025-03-01T10:07:00.12Z2"]),
    st.sampled_from(["2025-03-01T10:07:00Z\n2025-03-01T10:07:00Z", "2025-03-01T10:07:00.12Z\n", "\n"]),
    st.sampled_from(["2025-03-01T24:00:00.125Z", "2025-03-01T30:07:00.125Z", "2025-03-01T10:60:00.125Z"]),
    st.sampled_from(["2025-02-28T10:07:00.125Z", "2025-03-01t10:07:00.125Z", "2025-03-01T10:07:00.0.5Z"]),
)
TEXTS = st.text('ab\\"\n\r\0\x7fé\u2028', max_size=3)
VALUES = st.one_of(
    TEXTS,
    st.booleans(),
    st.none(),
    st.integers(),
    st.sampled_from(
        [10**20 - 1, 10**20, -(10**20), [], {}, "{", "[", "1" * 21, "\0", "\\u0000", "a\nb\r\u2028", "x" * 8_000]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
)
NAMES = st.sampled_from(["acme", "a", "", "x" * 255, "x" * 256, "a\x1f", "\u00a0é"])
EVENTS = st.fixed_dictionaries(
    {"customerAlias": NAMES, "eventType": NAMES},
    optional={
        "customerEventId": IDS,
        "eventTimestamp": TIMES,
        "eventProperties": st.dictionaries(TEXTS, VALUES, max_size=4),
    },
)
# Mostly good, so that one which is not stands among others.
BATCHES = st.lists(
    st.one_of(*[st.builds(lambda id_: PLAIN | {"customerEventId": id_}, st.uuids().map(str))] * 4, EVENTS),
    min_size=1,
    max_size=8,
)


def at_once(events: list[dict[str, object]]) -> Block | None:
    wires = event.decode_all(msgspec.json.encode(events))
    return wires and columns.block(wires, account=7, received_at=RECEIVED_AT, new_id=lambda: NEW_ID)


def one_by_one(events: list[dict[str, object]]) -> Block | None:
    try:
        taken = [
            event.decode(msgspec.json.encode(one), received_at=RECEIVED_AT, new_id=lambda: NEW_ID) for one in events
        ]
    except EventRefused:
        return None
    return entry.block(taken, account=7, received_at=RECEIVED_AT)


@given(BATCHES)
def test_events_at_once_are_what_they_are_one_by_one(events: list[dict[str, object]]) -> None:
    found = at_once(events)
    assert found is None or found == one_by_one(events)


@given(st.lists(EVENTS, min_size=1, max_size=3))
def test_rare_forms_at_once_are_what_they_are_one_by_one(events: list[dict[str, object]]) -> None:
    found = at_once(events)
    assert found is None or found == one_by_one(events)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"eventTimestamp": None},
        {"eventTimestamp": "2025-03-01T10:07:00Z"},
        {"eventTimestamp": "2025-03-01T10:07:00.1Z"},
        {"eventTimestamp": "2025-03-01T10:07:00.123456Z"},
        {"customerEventId": None},
        {"customerEventId": "order 17"},
        {"customerEventId": "019535d9-3df7-89fb-b466-fa907fa17f9e"},
        {"eventProperties": None},
        {"eventProperties": {"b": 1.50, "a": True, "c": None, "d": "line\nfeed"}},
        {"eventProperties": {"a": 10**20 - 1, "b": 1 - 10**20, "c": "12345678901234567890"}},
    ],
)
def test_the_usual_forms_are_taken_at_once(changes: dict[str, object]) -> None:
    one = {name: value for name, value in (PLAIN | changes).items() if value is not None}
    found = at_once([one, one])
    assert found is not None
    assert found == one_by_one([one, one])


@pytest.mark.parametrize(
    "changes",
    [
        {"customerEventId": "a\0b"},
        {"customerAlias": ""},
        {"eventType": "a\x1f"},
        {"eventTimestamp": "2025-03-01T12:05:00.001Z"},
        {"eventTimestamp": "1999-12-31T23:59:59.999Z"},
        {"eventTimestamp": "2025-02-30T10:07:00.125Z"},
        {"eventTimestamp": "2025-03-01T10:07:00.Z"},
        {"eventTimestamp": "2025-03-01T24:07:00.125Z"},
        {"eventTimestamp": "2025-03-01T10:60:00.125Z"},
        {"eventTimestamp": "2025-03-01T10:07:001Z"},
        {"eventProperties": {"a": 10**20}},
        {"eventProperties": {"a": "\0"}},
        {"eventProperties": {"a": []}},
        {"eventProperties": {"a": {}}},
        {"eventProperties": {"a": -(10**20)}},
        {"eventProperties": {"a": "x" * 8_192}},
        {"eventProperties": {str(number): number for number in range(51)}},
    ],
)
def test_a_bad_event_is_left_to_who_takes_them_one_by_one(changes: dict[str, object]) -> None:
    assert at_once([PLAIN, PLAIN | changes]) is None
    assert one_by_one([PLAIN | changes]) is None


def test_ids_of_other_lengths_that_join_to_uuids_are_kept_apart() -> None:
    ids = ["019535d9-3df7-79fb-b466-fa907fa17f9", "e019535d9-3df7-79fb-b466-fa907fa17f9e"]
    events = [PLAIN | {"customerEventId": one} for one in ids]
    found = at_once(events)
    assert found is not None
    assert found == one_by_one(events)
    assert found.ids == dict(enumerate(ids))


def test_events_of_several_days_and_names_are_taken_at_once() -> None:
    days = ("2024-02-29", "2025-03-01", "2025-01-31", "2025-03-01")
    events = [
        PLAIN | {"eventTimestamp": f"{day}T23:59:59.125Z", "customerAlias": f"acme {day}", "eventType": day[:4]}
        for day in days
    ]
    events[1]["eventTimestamp"] = events[3]["eventTimestamp"] = "2025-03-01T00:00:00.000Z"
    found = at_once(events)
    assert found is not None
    assert found == one_by_one(events)
