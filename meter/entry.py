"""What a stream entry holds: blocks of events as columns, in msgpack. Pure.

    entry = [block, block, ...]     one block per request that shared the flush
    block = [account, received_at, keys, digests, ids, aliases, types, timestamps, untimed, properties]

Columns instead of a record per event: the aggregator hands most of them on as they are. Everything was validated when
it came in; nothing is checked again.
"""

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from meter import identity
from meter.error import UnreadableEntry
from meter.event import Event

KEY_BYTES = 16
# The numbers of accounts are 4 bytes in Postgres.
_ACCOUNT_MAX = 1 << 31


class Block(msgspec.Struct, frozen=True, array_like=True):
    """The events of one request. Instants are microseconds since 1970 in UTC."""

    account: int
    received_at: int
    keys: bytes
    digests: list[int]
    # None: the id is the key itself.
    ids: list[str | None]
    aliases: list[str]
    types: list[str]
    timestamps: list[int]
    # The places of events whose timestamp is the time of receipt.
    untimed: list[int]
    properties: list[bytes]

    def __len__(self) -> int:
        return len(self.types)


def block(events: Sequence[Event], *, account: int, received_at: int) -> Block:
    """The columns of these events."""
    return Block(
        account=account,
        received_at=received_at,
        keys=b"".join(map(attrgetter("key"), events)),
        digests=[event.digest for event in events],
        ids=[None if identity.is_id(event.key) else event.customer_event_id for event in events],
        aliases=[event.customer_alias for event in events],
        types=[event.event_type for event in events],
        timestamps=[event.timestamp for event in events],
        untimed=[index for index, event in enumerate(events) if not event.has_own_timestamp],
        properties=[event.properties for event in events],
    )


def cut(events: Block, start: int, stop: int) -> Block:
    """The events from one place up to another as a block of their own."""
    return msgspec.structs.replace(
        events,
        keys=events.keys[KEY_BYTES * start : KEY_BYTES * stop],
        digests=events.digests[start:stop],
        ids=events.ids[start:stop],
        aliases=events.aliases[start:stop],
        types=events.types[start:stop],
        timestamps=events.timestamps[start:stop],
        untimed=[place - start for place in events.untimed if start <= place < stop],
        properties=events.properties[start:stop],
    )


def is_sound(events: Block) -> bool:
    """Whether the columns belong together, so that the block can be cut."""
    columns = (events.digests, events.ids, events.aliases, events.timestamps, events.properties)
    return (
        0 < len(events) == len(events.keys) // KEY_BYTES
        and len(events.keys) % KEY_BYTES == 0
        and all(len(column) == len(events) for column in columns)
        and all(0 <= place < len(events) for place in events.untimed)
        and 0 < events.account < _ACCOUNT_MAX
    )


def encode_block(events: Block) -> bytes:
    """A block as bytes; a flush joins the blocks of several requests."""
    return _ENCODER.encode(events)


def join(blocks: Sequence[bytes]) -> bytes:
    """Encoded blocks as one entry, without encoding them again."""
    return _ENCODER.encode([msgspec.Raw(one) for one in blocks])


def decode(entry: bytes) -> list[Block]:
    """The blocks of an entry."""
    try:
        return _DECODER.decode(entry)
    except msgspec.DecodeError as exc:
        raise UnreadableEntry(f"A stream entry cannot be decoded: {exc}.") from exc


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Block])
