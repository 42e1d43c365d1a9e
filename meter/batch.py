"""What one transaction counts: the blocks of many stream entries, with a place for every event. Pure.

place     0, 1, 2 ... over the whole batch, in the order of receipt
identity  who an event is, account and key; those of a batch have numbers in the order of event_key's primary key
order     (milliseconds, sequence, index) of an event in the streams: who was received last. Indexes of several streams
          lie apart (stream_position.first_index), as their entries may bear the same id

What there is of every event is a column of numbers: a batch has a hundred thousand events, and no object for any.
Whatever can be known without the database is made here, as batches are read ahead while Postgres works.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from meter import entry
from meter.entry import Block
from meter.error import UnreadableEntry
from store import event_key, stream_position
from store.event import Columns

Order: TypeAlias = tuple[int, int, int]
# Account and alias.
Name: TypeAlias = tuple[int, str]

_LINE_FEED = ord("\n")


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


class Batch(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Everything between two positions of a stream; columns by place."""

    end: str
    entries: int
    blocks: Sequence[Placed]
    columns: Columns
    # Each alias once, with its account, and where among them that of each event stands.
    names: Sequence[Name]
    name_places: NDArray[np.int64]
    digests: NDArray[np.int64]
    # All places in the order of their identities, those of one identity as they were received; and where each begins.
    sorted_places: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def events(self) -> int:
        """How many there are."""
        return len(self.digests)

    @property
    def last(self) -> tuple[int, int]:
        """Where the last event stands in the order of receipt."""
        return self.blocks[-1].entry_ms, self.blocks[-1].entry_sequence

    @property
    def last_places(self) -> NDArray[np.int64]:
        """The last place of each identity."""
        ends = np.append(self.starts[1:], self.events)[: len(self.starts)]
        found: NDArray[np.int64] = self.sorted_places[ends - 1]
        return found

    def places(self, number: int) -> list[int]:
        """The places of an identity, as they were received."""
        end = self.starts[number + 1] if number + 1 < len(self.starts) else self.events
        found: list[int] = self.sorted_places[self.starts[number] : end].tolist()
        return found

    def identity(self, number: int) -> tuple[int, UUID]:
        """The account and the key of an identity."""
        place = self.sorted_places[self.starts[number]]
        return int(self.columns.accounts[place]), UUID(bytes=self.columns.keys[place].tobytes())

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
    place = 0
    for entry_id, found in entries:
        milliseconds, sequence = stream_position.order(entry_id)
        first = place
        for block in found:
            if not entry.is_whole(block):
                raise UnreadableEntry(
                    "A block of a stream entry has not one value for each event in every column, or no time of receipt."
                )
            index = first_index + place - first
            blocks.append(Placed(block, milliseconds, sequence, index, place, frozenset(block.untimed)))
            place += len(block)
    return _batch(blocks, end=entries[-1][0], entries=len(entries))


def _batch(blocks: Sequence[Placed], *, end: str, entries: int) -> Batch:
    columns = _columns(blocks)
    names, name_places = _names(blocks)
    places, starts = _sorted(columns.accounts, columns.keys)
    return Batch(
        end=end,
        entries=entries,
        blocks=blocks,
        columns=columns,
        names=names,
        name_places=name_places,
        digests=np.frombuffer(b"".join([one.block.packed_digests for one in blocks]), np.int64),
        sorted_places=places,
        starts=starts,
    )


def _columns(placed: Sequence[Placed]) -> Columns:
    blocks = [one.block for one in placed]
    sizes = _sizes(placed)
    lines = b"".join([block.lines for block in blocks])
    type_names = {name: number for number, name in enumerate({name: 0 for one in blocks for name in one.type_names})}
    types = [[type_names[name] for name in block.type_names] for block in blocks]
    firsts = np.array([one.first_index - one.first_place for one in placed], np.int64)
    return Columns(
        accounts=np.array([block.account for block in blocks], np.int32).repeat(sizes),
        received_at=np.array([block.received_at for block in blocks], np.int64).repeat(sizes),
        entry_ms=np.array([one.entry_ms for one in placed], np.int64).repeat(sizes),
        entry_sequences=np.array([one.entry_sequence for one in placed], np.int64).repeat(sizes),
        entry_indexes=firsts.repeat(sizes) + np.arange(sizes.sum()),
        keys=np.frombuffer(b"".join([block.keys for block in blocks]), event_key.KEY),
        ids={one.first_place + place: id_ for one in placed for place, id_ in one.block.ids.items()},
        type_names=list(type_names),
        types=_looked_up(types, [block.packed_types for block in blocks], sizes),
        timestamps=np.frombuffer(b"".join([block.packed_timestamps for block in blocks]), np.int64),
        lines=lines,
        line_bounds=np.append(0, np.flatnonzero(np.frombuffer(lines, np.uint8) == _LINE_FEED) + 1),
    )


def _names(placed: Sequence[Placed]) -> tuple[list[Name], NDArray[np.int64]]:
    """Each alias once, and where that of each event stands among them."""
    blocks = [one.block for one in placed]
    numbers: dict[Name, int] = {}
    named = [
        [numbers.setdefault((block.account, name), len(numbers)) for name in block.alias_names] for block in blocks
    ]
    places = _looked_up(named, [block.packed_aliases for block in blocks], _sizes(placed))
    return list(numbers), places


def _sizes(placed: Sequence[Placed]) -> NDArray[np.int64]:
    return np.array([len(one.block) for one in placed], np.int64)


def _looked_up(values: list[list[int]], packed: list[bytes], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each event the value at its place among those of its block."""
    counts = np.array([*map(len, values)], np.int64)
    places = np.frombuffer(b"".join(packed), entry.PLACE).astype(np.int64)
    if (places >= counts.repeat(sizes)).any():
        raise UnreadableEntry("An event of a stream entry has an alias or a type that its block does not name.")
    places += (counts.cumsum() - counts).repeat(sizes)
    found: NDArray[np.int64] = np.array([value for of_block in values for value in of_block], np.int64)[places]
    return found


def _sorted(accounts: NDArray[np.int32], keys: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All places in the order of account and key, and where another of these begins."""
    upper, lower = keys.view(">u8").astype(np.uint64).reshape(-1, 2).T
    is_of_one = not len(accounts) or bool((accounts == accounts[0]).all())
    # Ids of one clock come nearly sorted by their upper halves, which costs next to nothing.
    places = upper.argsort(kind="stable") if is_of_one else np.lexsort((upper, accounts))
    is_same = upper[places[1:]] == upper[places[:-1]]
    is_same &= accounts[places[1:]] == accounts[places[:-1]]
    if is_same.any():
        # Those that share them are sorted among themselves; they stay where they are as a whole.
        shared = np.flatnonzero(np.append(is_same, False) | np.append(False, is_same))
        some = places[shared]
        places[shared] = some[np.lexsort((lower[some], upper[some], accounts[some]))]
        is_same &= lower[places[1:]] == lower[places[:-1]]
    return places, np.flatnonzero(np.append(True, ~is_same)[: len(places)])


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
    return _batch(blocks, end=whole.end, entries=whole.entries)
