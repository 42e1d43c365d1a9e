"""What a stream entry holds: blocks of events as columns, in msgpack. Pure.

    entry = [block, block, ...]     one block per request that shared the flush; small ones of an account share one
    block = [account, received_at, keys, digests, ids, alias names, aliases, type names, types, timestamps, untimed,
             properties]

Columns instead of a record per event: the aggregator hands most of them on as they are. Numbers are packed as the
machine has them, a name stands once with its place beside each event, properties are lines: so that an event costs a
decoder nothing, whatever a block costs. Everything was validated when it came in and is not looked at again, but for
what would put events into the wrong place.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from struct import iter_unpack
from typing import Final

import msgspec
import numpy as np

from meter import identity
from meter.error import UnreadableEntry
from meter.event import Event
from meter.identity import Named

KEY_BYTES = 16
# The numbers of accounts are 4 bytes in Postgres; instants, in microseconds, end long after 2100.
_ACCOUNT_MAX = 1 << 31
_INSTANT_MAX = 1 << 53
# How array and memoryview call 8 bytes with a sign, and 2 bytes without one: no block has more than 50,000 events.
_LONG: Final = "q"
PLACE: Final = "H"
_LONG_BYTES = 8
_PLACE_BYTES = 2
# Any odd number with bits in its upper half.
_ODD = np.uint64(0x9E37_79B9_7F4A_7C15)


class Block(msgspec.Struct, frozen=True, array_like=True):
    """The events of a request, or of several. Instants are microseconds since 1970 in UTC."""

    account: int
    received_at: int
    keys: bytes
    packed_digests: bytes
    # By place; an id that is not here is the key itself.
    ids: dict[int, str]
    alias_names: list[str]
    packed_aliases: bytes
    type_names: list[str]
    packed_types: bytes
    packed_timestamps: bytes
    # The places of events whose timestamp is the time of receipt.
    untimed: list[int]
    # The canonical JSON of each event and a line feed, which JSON has nowhere else.
    lines: bytes

    def __len__(self) -> int:
        return len(self.keys) // KEY_BYTES

    @property
    def properties(self) -> list[bytes]:
        """The properties of each event."""
        return self.lines.splitlines()

    @property
    def split_keys(self) -> list[bytes]:
        """A key for each event."""
        return [key for (key,) in iter_unpack(f"{KEY_BYTES}s", self.keys)]

    @property
    def digests(self) -> "memoryview[int]":
        """A digest for each event."""
        return memoryview(self.packed_digests).cast(_LONG)

    @property
    def timestamps(self) -> "memoryview[int]":
        """An instant for each event."""
        return memoryview(self.packed_timestamps).cast(_LONG)

    @property
    def alias_places(self) -> "memoryview[int]":
        """Where among the names the alias of each event stands."""
        return memoryview(self.packed_aliases).cast(PLACE)

    @property
    def type_places(self) -> "memoryview[int]":
        """Where among the names the type of each event stands."""
        return memoryview(self.packed_types).cast(PLACE)


def block(events: Sequence[Event], *, account: int, received_at: int) -> Block:
    """The columns of these events."""
    return pack(
        account=account,
        received_at=received_at,
        keys=b"".join(map(attrgetter("key"), events)),
        digests=[event.digest for event in events],
        ids={place: event.customer_event_id for place, event in enumerate(events) if not identity.is_id(event.key)},
        aliases=[event.customer_alias for event in events],
        types=[event.event_type for event in events],
        timestamps=[event.timestamp for event in events],
        untimed=[place for place, event in enumerate(events) if not event.has_own_timestamp],
        lines=lines([event.properties for event in events]),
    )


def pack(  # noqa: PLR0913 - one argument for each column
    *,
    account: int,
    received_at: int,
    keys: bytes,
    digests: Sequence[int],
    ids: Mapping[int, str],
    aliases: Sequence[str],
    types: Sequence[str],
    timestamps: Sequence[int],
    untimed: Sequence[int],
    lines: bytes,
) -> Block:
    """A block of columns that say something about each event."""
    alias_names, packed_aliases = _places(aliases)
    type_names, packed_types = _places(types)
    return Block(
        account=account,
        received_at=received_at,
        keys=keys,
        packed_digests=array(_LONG, digests).tobytes(),
        ids=dict(ids),
        alias_names=alias_names,
        packed_aliases=packed_aliases,
        type_names=type_names,
        packed_types=packed_types,
        packed_timestamps=array(_LONG, timestamps).tobytes(),
        untimed=list(untimed),
        lines=lines,
    )


def lines(properties: Iterable[bytes]) -> bytes:
    """The properties of events as a column."""
    return b"".join([text + b"\n" for text in properties])


def named(texts: Sequence[str]) -> Named:
    """Each text once, and where the text of each event stands among them."""
    size = len(texts)
    # Types are usually one.
    if texts.count(texts[0]) == size:
        return [texts[0]], np.zeros(size, np.uint16)
    names = [*dict.fromkeys(texts)]
    places = dict(zip(names, range(len(names)), strict=True))
    return names, np.fromiter(map(places.__getitem__, texts), np.uint16, size)


def _places(texts: Sequence[str]) -> tuple[list[str], bytes]:
    names, places = named(texts)
    return [*names], places.tobytes()


def cut(events: Block, start: int, stop: int) -> Block:
    """The events from one place up to another as a block of their own, with no names but theirs."""
    alias_names, packed_aliases = _places([events.alias_names[place] for place in events.alias_places[start:stop]])
    type_names, packed_types = _places([events.type_names[place] for place in events.type_places[start:stop]])
    return msgspec.structs.replace(
        events,
        keys=events.keys[KEY_BYTES * start : KEY_BYTES * stop],
        packed_digests=events.packed_digests[_LONG_BYTES * start : _LONG_BYTES * stop],
        ids={place - start: id_ for place, id_ in events.ids.items() if start <= place < stop},
        alias_names=alias_names,
        packed_aliases=packed_aliases,
        type_names=type_names,
        packed_types=packed_types,
        packed_timestamps=events.packed_timestamps[_LONG_BYTES * start : _LONG_BYTES * stop],
        untimed=[place - start for place in events.untimed if start <= place < stop],
        lines=lines(events.properties[start:stop]),
    )


def is_whole(events: Block) -> bool:
    """Whether every column has a value for each event, and all were received at a possible time."""
    size = len(events)
    lengths = (
        (events.keys, KEY_BYTES),
        (events.packed_digests, _LONG_BYTES),
        (events.packed_timestamps, _LONG_BYTES),
        (events.packed_aliases, _PLACE_BYTES),
        (events.packed_types, _PLACE_BYTES),
    )
    return (
        0 <= events.received_at < _INSTANT_MAX
        and all(len(column) == size * width for column, width in lengths)
        and events.lines.count(b"\n") == size
        and events.lines[-1:] in {b"\n", b""}
        # It would end a line as well.
        and b"\r" not in events.lines
    )


def is_sound(events: Block) -> bool:
    """Whether the columns belong together, so that the block can be cut."""
    size = len(events)
    return (
        size > 0
        and is_whole(events)
        and all(0 <= place < size for place in (*events.untimed, *events.ids))
        and max(events.alias_places) < len(events.alias_names)
        and max(events.type_places) < len(events.type_names)
        and 0 < events.account < _ACCOUNT_MAX
    )


def duplicates(keys: Sequence[bytes], digests: Sequence[int]) -> int:
    """How many events of one request say what the same id said right before, in the same request.

    Those have no effect whatever is stored. More is not known here: that would be a look at Postgres, and what one
    process remembers of others' corrections may be wrong.
    """
    if len({*keys}) == len(keys):
        return 0
    found = 0
    last: dict[bytes, int] = {}
    for key, digest in zip(keys, digests, strict=True):
        found += last.get(key) == digest
        last[key] = digest
    return found


def duplicates_of(request: Block) -> int:
    """The same of a request that is one block."""
    # The usual case costs a sort of numbers that stand for the keys.
    halves = np.frombuffer(request.keys, np.uint64)
    mixed = halves[::2] * _ODD ^ halves[1::2]
    mixed.sort()
    if (mixed[1:] != mixed[:-1]).all():
        return 0
    return duplicates(request.split_keys, request.digests)


def encode_block(events: Block) -> bytes:
    """A block as bytes; a flush joins the blocks of several requests."""
    return _ENCODER.encode(events)


def join(blocks: Sequence[bytes]) -> bytes:
    """Encoded blocks as one entry.

    Large ones go in as they are. Small ones, of requests with an event or a few, become one block with their neighbours
    of the same account: a block of its own would cost the aggregator more than what is in it.
    """
    if len(blocks) == 1:
        return _ENCODER.encode([msgspec.Raw(blocks[0])])
    joined: list[Block | msgspec.Raw] = []
    small: list[Block] = []
    for one in blocks:
        if len(one) > _SMALL_BYTES:
            joined += [*_one(small), msgspec.Raw(one)]
            small = []
            continue
        read = _BLOCK_DECODER.decode(one)
        if small and (read.account != small[0].account or len(small) == _MERGED_MAX):
            joined += _one(small)
            small = []
        small.append(read)
    return _ENCODER.encode([*joined, *_one(small)])


def _one(blocks: Sequence[Block]) -> list[Block]:
    return [merged(blocks)] if blocks else []


def merged(blocks: Sequence[Block]) -> Block:
    """Blocks of one account as one, received when the last of them was: no event lies further ahead of that."""
    if len(blocks) == 1:
        return blocks[0]
    ids: dict[int, str] = {}
    untimed: list[int] = []
    events = 0
    for one in blocks:
        ids |= {events + place: id_ for place, id_ in one.ids.items()}
        untimed += [events + place for place in one.untimed]
        events += len(one)
    alias_names, packed_aliases = _places([one.alias_names[place] for one in blocks for place in one.alias_places])
    type_names, packed_types = _places([one.type_names[place] for one in blocks for place in one.type_places])
    return Block(
        account=blocks[0].account,
        received_at=max(one.received_at for one in blocks),
        keys=b"".join([one.keys for one in blocks]),
        packed_digests=b"".join([one.packed_digests for one in blocks]),
        ids=ids,
        alias_names=alias_names,
        packed_aliases=packed_aliases,
        type_names=type_names,
        packed_types=packed_types,
        packed_timestamps=b"".join([one.packed_timestamps for one in blocks]),
        untimed=untimed,
        lines=b"".join([one.lines for one in blocks]),
    )


def decode(entry: bytes) -> list[Block]:
    """The blocks of an entry."""
    try:
        return _DECODER.decode(entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UnreadableEntry(f"A stream entry cannot be decoded: {exc}.") from exc


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Block])
_BLOCK_DECODER = msgspec.msgpack.Decoder(Block)
_SMALL_BYTES = 2_048
# A small block has at most 60 events, so a place still fits into its 2 bytes.
_MERGED_MAX = 1_000
