"""Blocks survive the stream as they went in."""

import msgspec
import pytest
from uuid_utils.compat import uuid7

from meter import entry, event
from meter.entry import Block
from meter.error import UnreadableEntry
from tests.usage import NOW, called


def block(*ids: str, account: int = 1) -> Block:
    received_at = event.microseconds(NOW)
    events = [
        event.decode(msgspec.json.encode(called(id_, n=n)), received_at=received_at, new_id=uuid7)
        for n, id_ in enumerate(ids)
    ]
    return entry.block(events, account=account, received_at=received_at)


def test_joined_blocks_come_out_in_their_order() -> None:
    blocks = [block("a", "b"), block("c", account=2)]

    assert entry.decode(entry.join([entry.encode_block(one) for one in blocks])) == blocks


def test_an_id_that_is_its_own_key_is_not_kept_twice() -> None:
    own = str(uuid7())

    assert block(own, "e1").ids == {1: "e1"}


def test_events_without_a_timestamp_are_remembered_by_place() -> None:
    received_at = event.microseconds(NOW)
    bodies = [called("a"), called("b", when="")]
    events = [event.decode(msgspec.json.encode(one), received_at=received_at, new_id=uuid7) for one in bodies]

    assert entry.block(events, account=1, received_at=received_at).untimed == [1]


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x91\x91\x01", b"\x01"])
def test_a_damaged_entry_stops_counting_instead_of_losing_events(payload: bytes) -> None:
    with pytest.raises(UnreadableEntry):
        entry.decode(payload)
