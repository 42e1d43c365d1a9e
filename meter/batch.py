"""What one transaction counts: the blocks of many stream entries, with a place for every event. Pure.

place     0, 1, 2 ... over the whole batch, in the order of receipt
identity  4 bytes of account and 16 bytes of key; sorted identities are in the order of the primary key of event_key
order     (milliseconds, sequence, index) of an event in the streams: who was received last. Indexes of several streams
          lie apart (stream_position.first_index), as their entries may bear the same id
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from meter import entry
from meter.entry import DIGEST_BYTES, KEY_BYTES, Block
from meter.error import UnreadableEntry
from store import event_key, stream_position

Order: TypeAlias = tuple[int, int, int]


class Placed(msgspec.Struct, frozen=True):
    """A block, where it stands in its stream, and the place of its first event."""

    block: Block
    entry_ms: int
    entry_sequence: int
    first_index: int
    first_place: int
    untimed: frozenset[int]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an event, as far as deciding between versions needs it."""

    place: int
    digest: int
    order: Order
    timestamp: int
    has_own_timestamp: bool


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Everything between two positions of a stream."""

    end: str
    entries: int
    blocks: list[Placed]
    events: int
    identities: list[bytes]
    digests: list[int]
    # The last place of each identity.
    last_places: dict[bytes, int]
    # Each identity once, sorted. Here and not where it is needed, as batches are made while Postgres works.
    sorted_identities: list[bytes]

    @property
    def last(self) -> tuple[int, int]:
        """Where the last event stands in the order of receipt."""
        return self.blocks[-1].entry_ms, self.blocks[-1].entry_sequence

    def candidate(self, place: int) -> Candidate:
        """The event at a place."""
        placed = self.blocks[bisect_right(self.blocks, place, key=lambda one: one.first_place) - 1]
        index = place - placed.first_place
        return Candidate(
            place=place,
            digest=placed.block.digests[index],
            order=(placed.entry_ms, placed.entry_sequence, placed.first_index + index),
            timestamp=placed.block.timestamps[index],
            has_own_timestamp=index not in placed.untimed,
        )


def batch(entries: Sequence[tuple[str, Sequence[Block]]], *, first_index: int = 0) -> Batch:
    """The batch of these entries, each with its id; there is at least one. `first_index`: that of each first event."""
    blocks: list[Placed] = []
    identities: list[bytes] = []
    digests: list[int] = []
    for entry_id, found in entries:
        milliseconds, sequence = stream_position.order(entry_id)
        first = len(digests)
        for block in found:
            place = len(digests)
            size, rest = divmod(len(block.keys), KEY_BYTES)
            if rest or len(block.packed_digests) != DIGEST_BYTES * size:
                raise UnreadableEntry("A block of a stream entry has not one digest for each key.")
            index = first_index + place - first
            blocks.append(Placed(block, milliseconds, sequence, index, place, frozenset(block.untimed)))
            account = event_key.identity(block.account, b"")
            identities.extend([account + key for key in block.split_keys])
            digests.extend(block.digests)
    last_places = dict(zip(identities, range(len(identities)), strict=True))
    return Batch(
        end=entries[-1][0],
        entries=len(entries),
        blocks=blocks,
        events=len(digests),
        identities=identities,
        digests=digests,
        last_places=last_places,
        sorted_identities=sorted(last_places),
    )


def split(whole: Batch) -> tuple[Batch, Batch]:
    """The first and the second half of a batch's events; counting one after the other is counting the whole."""
    middle = whole.events // 2
    return _part(whole, 0, middle), _part(whole, middle, whole.events)


def one(whole: Batch, place: int) -> Batch:
    """A single event of a batch."""
    return _part(whole, place, place + 1)


def _part(whole: Batch, start: int, stop: int) -> Batch:
    blocks = []
    for placed in whole.blocks:
        first, last = max(start - placed.first_place, 0), min(stop - placed.first_place, len(placed.block))
        if first < last:
            blocks.append(
                Placed(
                    block=entry.cut(placed.block, first, last),
                    entry_ms=placed.entry_ms,
                    entry_sequence=placed.entry_sequence,
                    first_index=placed.first_index + first,
                    first_place=placed.first_place + first - start,
                    untimed=frozenset(place - first for place in placed.untimed if first <= place < last),
                )
            )
    last_places = dict(zip(whole.identities[start:stop], range(stop - start), strict=True))
    return msgspec.structs.replace(
        whole,
        blocks=blocks,
        events=stop - start,
        identities=whole.identities[start:stop],
        digests=whole.digests[start:stop],
        last_places=last_places,
        sorted_identities=sorted(last_places),
    )
