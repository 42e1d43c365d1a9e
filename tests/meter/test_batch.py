"""A batch knows its identities in the order of the index, and where each of them stands."""

from collections import defaultdict
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from meter import batch, entry
from meter.entry import Block

# Few different halves, so that identities share one or both; those that compare otherwise as signed numbers too.
HALVES = st.sampled_from([0, 1, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF])
KEYS = st.tuples(HALVES, HALVES).map(lambda halves: halves[0].to_bytes(8, "big") + halves[1].to_bytes(8, "big"))
ENTRIES = st.lists(
    st.lists(st.tuples(st.integers(1, 2), st.lists(KEYS, min_size=1, max_size=4)), max_size=3), min_size=1, max_size=4
)


def block(account: int, keys: list[bytes]) -> Block:
    size = len(keys)
    return entry.pack(
        account=account,
        received_at=0,
        keys=b"".join(keys),
        digests=range(1, size + 1),
        ids={},
        aliases=["acme"] * size,
        types=["call"] * size,
        timestamps=range(size),
        untimed=[],
        lines=b"{}\n" * size,
    )


@given(ENTRIES)
def test_identities_are_sorted_and_each_knows_its_places(entries: list[list[tuple[int, list[bytes]]]]) -> None:
    whole = batch.batch([(f"{number}-0", [block(*one) for one in blocks]) for number, blocks in enumerate(entries)])

    expected: defaultdict[tuple[int, UUID], list[int]] = defaultdict(list)
    identities = [(account, UUID(bytes=key)) for blocks in entries for account, keys in blocks for key in keys]
    for place, identity in enumerate(identities):
        expected[identity].append(place)
    numbers = range(len(whole.starts))
    assert [whole.identity(number) for number in numbers] == sorted(expected)
    assert [whole.places(number) for number in numbers] == [expected[identity] for identity in sorted(expected)]
    assert whole.last_places.tolist() == [expected[identity][-1] for identity in sorted(expected)]
    assert whole.events == len(identities)
