"""Events that are read by the names of their properties are what they are without that."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter import columns, event, shape, timestamp
from meter.entry import Block
from meter.event import Wire

RECEIVED_AT = timestamp.microseconds(datetime(2025, 3, 1, 12, tzinfo=UTC))
ID = "019535d9-3df7-79fb-b466-fa907fa17f9e"
PLAIN = {"customerEventId": ID, "customerAlias": "acme", "eventType": "call"}
ALIKE = [{"b": 1.50, "a": "x"}, {"a": None, "b": 2}]

NAMES = st.sampled_from(["a", "ab", "b", "B", "a b", "a.b", "~", "é", 'a"', "a\\", "class", "property_0"])
VALUES = st.one_of(
    st.text('ab\\":{}[],é\n', max_size=4),
    st.booleans(),
    st.none(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([[], {}, {"a": 1}]),
)


@pytest.fixture(scope="module", autouse=True)
def eager() -> Iterator[None]:
    """Whatever comes once is a guess."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shape, "BODY_BYTES_MIN", 0)
        patch.setattr(shape, "_SKIPPED_FIRST", 0)
        yield


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    shape._SHAPES.clear()


def body(*properties: dict[str, Any]) -> bytes:
    return msgspec.json.encode([PLAIN | {"eventProperties": one} for one in properties])


def block(wires: list[Wire] | None) -> Block | None:
    return wires and columns.block(wires, account=7, received_at=RECEIVED_AT, new_id=lambda: UUID(ID))


def is_shaped(wires: list[Wire] | None) -> bool:
    return wires is not None and all(isinstance(one.event_properties, msgspec.Struct) for one in wires)


@given(st.lists(NAMES, max_size=4, unique=True), st.data())
def test_events_with_the_same_names_are_what_they_are_with_dictionaries(names: list[str], data: st.DataObject) -> None:
    orders = st.permutations(names)
    events = [{name: data.draw(VALUES) for name in data.draw(orders)} for _ in range(3)]

    assert block(shape.decode_all(body(*events))) == block(event.decode_all(body(*events)))


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=4))
def test_events_with_other_names_are_what_they_are_with_dictionaries(events: list[dict[str, Any]]) -> None:
    assert block(shape.decode_all(body(*events))) == block(event.decode_all(body(*events)))


def test_the_usual_events_are_read_by_their_names() -> None:
    wires = shape.decode_all(body(*ALIKE))

    assert is_shaped(wires)
    assert block(wires) is not None
    assert block(wires) == block(event.decode_all(body(*ALIKE)))


def test_names_that_come_once_are_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "_SKIPPED_FIRST", 1)

    assert [is_shaped(shape.decode_all(body(*ALIKE))) for _ in range(3)] == [False, True, True]


def test_who_takes_events_one_by_one_sees_their_properties_as_they_were_sent() -> None:
    sent = body(*ALIKE)
    wires = shape.decode_all(sent)
    assert wires is not None

    plain = shape.plain(wires, sent)

    assert list(plain) == event.decode_all(sent)
    assert [[*one.event_properties] for one in plain] == [["b", "a"], ["a", "b"]]


def test_after_a_wrong_guess_the_next_arrays_are_read_with_dictionaries() -> None:
    mixed = body(*ALIKE, {"a": 1})

    assert shape.decode_all(mixed) == event.decode_all(mixed)
    assert [is_shaped(shape.decode_all(body(*ALIKE))) for _ in range(66)] == [False] * 64 + [True] * 2


def test_an_array_that_nobody_can_read_is_no_wrong_guess() -> None:
    assert shape.decode_all(body(*ALIKE)[:-1]) is None
    assert is_shaped(shape.decode_all(body(*ALIKE)))


def test_names_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "SHAPES_MAX", 3)

    for number in range(10):
        assert is_shaped(shape.decode_all(body({f"name {number}": 1})))
        assert len(shape._SHAPES) <= 3
    assert not is_shaped(shape.decode_all(body({str(number): 1 for number in range(51)})))
