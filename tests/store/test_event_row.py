"""Rows of COPY hold what was received, whatever else is in the same piece."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import copy, event
from store.event import Columns, Received
from store.event_key import KEY

SIZES = {"account": 4, "received_at": 8, "entry_ms": 8, "entry_sequence": 8, "event_no": 8, "event_timestamp": 8}
SIZES |= {"alias": 4, "entry_index": 4}
NAMES = (*SIZES, "key", "event_type", "state", "customer_event_id", "properties")
EPOCH = 946_684_800_000_000


def received(types: list[int], ids: dict[int, str]) -> Received:
    size = len(types)
    lines = [b'{"n":%d}\n' % number for number in range(size)]
    columns = Columns(
        accounts=np.full(size, 7, np.int32),
        received_at=np.full(size, EPOCH + 1),
        entry_ms=np.full(size, 2),
        entry_sequences=np.full(size, 3),
        entry_indexes=np.arange(size) + 4,
        keys=np.frombuffer(b"".join([number.to_bytes(16, "big") for number in range(size)]), KEY),
        ids=ids,
        type_names=[f"type {number}" for number in range(max(types) + 1)],
        types=np.array(types),
        timestamps=np.arange(size) + EPOCH,
        lines=b"".join(lines),
        line_bounds=np.cumsum([0, *map(len, lines)]),
    )
    return Received(
        first_no=100, columns=columns, aliases=np.arange(size, dtype=np.int32), timestamps=columns.timestamps
    )


async def rows(of: Received, places: list[int], states: dict[int, str]) -> dict[int, dict[str, Any]]:
    """The rows by event number, as they are read back."""
    data = b"".join([piece async for piece in event._pieces(of, np.array(places, np.int64), states)])
    assert data.startswith(copy.HEAD)
    found: dict[int, dict[str, Any]] = {}
    at = len(copy.HEAD)
    while data[at : at + 2] != copy.END:
        assert int.from_bytes(data[at : at + 2], "big") == len(NAMES)
        at += 2
        row: dict[str, Any] = {}
        for name in NAMES:
            length = int.from_bytes(data[at : at + 4], "big", signed=True)
            value = data[at + 4 : at + 4 + max(length, 0)]
            at += 4 + max(length, 0)
            if name in SIZES:
                assert length == SIZES[name]
                row[name] = int.from_bytes(value, "big", signed=True)
            else:
                row[name] = None if length < 0 else value
        assert row["event_no"] not in found
        found[row["event_no"]] = row
    assert at + 2 == len(data)
    return found


@given(
    st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=1, max_size=90),
    st.sets(st.integers(0, 89), max_size=9),
    st.one_of(st.sets(st.integers(0, 89), max_size=9), st.sets(st.integers(0, 89), min_size=70)),
    st.sets(st.integers(0, 89), max_size=9),
)
async def test_each_event_that_is_stored_has_its_row(
    types: list[int], named: set[int], unstored: set[int], dead: set[int]
) -> None:
    places = range(len(types))
    ids = {place: f"e{place}" for place in named if place in places}
    states = {100 + place: "superseded" for place in dead if place in places}

    stored = [place for place in places if place not in unstored]

    found = await rows(received(types, ids), stored, states)

    assert found == {
        100 + place: {
            "account": 7,
            "received_at": 1,
            "entry_ms": 2,
            "entry_sequence": 3,
            "event_no": 100 + place,
            "event_timestamp": place,
            "alias": place,
            "entry_index": 4 + place,
            "key": place.to_bytes(16, "big"),
            "event_type": f"type {types[place]}".encode(),
            "state": states.get(100 + place, "live").encode(),
            "customer_event_id": ids[place].encode() if place in ids else None,
            "properties": b'{"n":%d}' % place,
        }
        for place in stored
    }


@pytest.mark.parametrize("types", [1, 500, 5_000])
async def test_a_batch_has_rows_for_all_of_its_types(types: int) -> None:
    found = await rows(received([number % types for number in range(5_000)], {}), [*range(5_000)], {})

    assert [found[100 + place]["event_type"] for place in range(5_000)] == [
        f"type {place % types}".encode() for place in range(5_000)
    ]
