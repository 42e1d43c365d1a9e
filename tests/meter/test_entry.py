"""Blocks survive the stream as they went in."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from meter import entry, event, timestamp
from meter.entry import Block
from meter.error import UnreadableEntry
from tests.usage import NOW, called

# Keys that have their halves in common, exchanged.
OWN = ("019535d9-3df7-79fb-b466-fa907fa17f9e", "b466fa90-7fa1-7f9e-0195-35d93df779fb")


def block(*ids: str, account: int = 1) -> Block:
    received_at = timestamp.microseconds(NOW)
    events = [
        event.decode(msgspec.json.encode(called(id_, n=n)), received_at=received_at, new_id=uuid7)
        for n, id_ in enumerate(ids)
    ]
    return entry.block(events, account=account, received_at=received_at)


def test_a_part_of_a_block_names_nobody_else() -> None:
    received_at = timestamp.microseconds(NOW)
    bodies = [called("a"), called("b", alias="beta"), called("c", alias="gamma")]
    events = [event.decode(msgspec.json.encode(one), received_at=received_at, new_id=uuid7) for one in bodies]

    part = entry.cut(entry.block(events, account=1, received_at=received_at), 1, 2)

    assert part == entry.block(events[1:2], account=1, received_at=received_at)
    assert part.alias_names == ["beta"]


def joined(*blocks: Block) -> list[Block]:
    return entry.decode(entry.join([entry.encode_block(one) for one in blocks]))


def test_joined_blocks_come_out_in_their_order() -> None:
    blocks = [block("a", "b"), block("c", account=2)]

    assert joined(*blocks) == blocks


def test_small_neighbours_of_one_account_become_one_block() -> None:
    own = str(uuid7())
    large = block(*map(str, range(100)))
    one, two, three = block("a", own), block("b"), block("c", account=2)

    merged, *others = joined(one, two, three, large, block("d"), block("e"))

    assert others == [three, large, *joined(block("d"), block("e"))]
    assert len(merged) == 3
    assert merged.ids == {0: "a", 2: "b"}
    assert [entry.cut(merged, 0, 2), entry.cut(merged, 2, 3)] == [one, two]


def test_a_merged_block_knows_which_events_have_no_timestamp_and_whose_they_are() -> None:
    received_at = timestamp.microseconds(NOW)
    bodies = [called("a"), called("b", when="", alias="beta"), called("c", alias="gamma", when=""), called("d")]
    events = [event.decode(msgspec.json.encode(one), received_at=received_at, new_id=uuid7) for one in bodies]
    blocks = [entry.block([one], account=1, received_at=received_at) for one in events]

    [merged] = joined(*blocks)

    assert merged == entry.block(events, account=1, received_at=received_at)
    assert merged.untimed == [1, 2]


def test_a_merged_block_was_received_when_the_last_of_its_parts_was() -> None:
    first, last = block("a"), msgspec.structs.replace(block("b"), received_at=timestamp.microseconds(NOW) + 7)

    [merged] = joined(first, last)

    assert merged.received_at == last.received_at


def test_a_block_is_never_merged_beyond_what_its_places_can_count() -> None:
    blocks = [block(str(number)) for number in range(2_500)]

    found = joined(*blocks)

    assert [len(one) for one in found] == [1_000, 1_000, 500]
    assert [id_ for one in found for id_ in one.ids.values()] == [str(number) for number in range(2_500)]


def test_an_id_that_is_its_own_key_is_not_kept_twice() -> None:
    own = str(uuid7())

    assert block(own, "e1").ids == {1: "e1"}


def test_events_without_a_timestamp_are_remembered_by_place() -> None:
    received_at = timestamp.microseconds(NOW)
    bodies = [called("a"), called("b", when="")]
    events = [event.decode(msgspec.json.encode(one), received_at=received_at, new_id=uuid7) for one in bodies]

    assert entry.block(events, account=1, received_at=received_at).untimed == [1]


NO_TEXT = entry.join([entry.encode_block(block("a"))]).replace(b"acme", b"\xff\xff\xff\xff")
TOO_DEEP = b"\x91" * 100_000 + b"\x01"


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x91\x91\x01", b"\x01", NO_TEXT, TOO_DEEP], ids=range(6))
def test_a_damaged_entry_stops_counting_instead_of_losing_events(payload: bytes) -> None:
    with pytest.raises(UnreadableEntry):
        entry.decode(payload)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", *OWN]), st.integers(0, 1)), min_size=1, max_size=8))
def test_repeats_within_a_request_are_found_whatever_the_keys_are(said: list[tuple[str, int]]) -> None:
    received_at = timestamp.microseconds(NOW)
    bodies = [msgspec.json.encode(called(id_, n=n)) for id_, n in said]
    events = [event.decode(one, received_at=received_at, new_id=uuid7) for one in bodies]

    found = entry.duplicates_of(entry.block(events, account=1, received_at=received_at))

    assert found == entry.duplicates([one.key for one in events], [one.digest for one in events])
    assert found == sum(n == dict(said[:place]).get(id_) for place, (id_, n) in enumerate(said))
