"""Raw events: what was received, as it was received, one row per version.

    Received    the columns of one block of events, already numbered; `save` stores many of them with one COPY
    Version     one stored row, as corrections need it
    history     stored events in the order of their numbers, a piece at a time, for a metric that is born after them

COPY takes rows in Postgres' own binary form, built here: no other way in costs less than half of the time.
Instants are microseconds since 1970 in UTC on this side; Postgres counts from 2000.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from itertools import chain, compress
from struct import Struct
from uuid import UUID

import msgspec

from store import copy
from store.db import Connection

_ROWS_AT_ONCE = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSTGRES_EPOCH = 946_684_800_000_000
_MICROSECOND = timedelta(microseconds=1)

# What becomes of a row: it counts; other content took its place; it was cancelled.
LIVE, SUPERSEDED, CANCELLED = "live", "superseded", "cancelled"


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one block. `aliases` are numbers, `types` places among the names; `ids` has, by place, the ids that
    are not the key.
    """

    account: int
    received_at: int
    entry_ms: int
    entry_sequence: int
    first_index: int
    first_no: int
    keys: bytes
    ids: Mapping[int, str]
    aliases: Sequence[int]
    type_names: Sequence[str]
    types: Sequence[int]
    timestamps: Sequence[int]
    properties: Sequence[bytes]


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A stored version of an event. `order` is its place in the order of receipt."""

    account: int
    event_no: int
    key: UUID
    alias: int
    alias_value: str
    event_type: str
    timestamp: int
    properties: str
    state: str
    order: tuple[int, int, int]


# Corrections ask for the versions they replace, by the primary key of every partition.
_VERSIONS = """
select account, event_no, key, alias, value as alias_value, event_type, event_timestamp, properties, state,
    entry_ms, entry_sequence, entry_index
from usage_event join unnest($1::integer[], $2::bigint[]) as wanted (account, event_no) using (account, event_no)
join usage_alias using (account, alias)
"""

# Corrections and cancellations, by the primary key of every partition.
_SET_STATES = """
update usage_event set state = new.state
from unnest($1::integer[], $2::bigint[], $3::text[]) as new (account, event_no, state)
where usage_event.account = new.account and usage_event.event_no = new.event_no
"""

# New times of what came without a timestamp, by the primary key of every partition.
_SET_TIMES = """
update usage_event set event_timestamp = new.at
from unnest($1::integer[], $2::bigint[], $3::timestamptz[]) as new (account, event_no, at)
where usage_event.account = new.account and usage_event.event_no = new.event_no
"""

# A metric's history, by the primary key of every partition. Events of other types are read as well, without what they
# say: so a piece is bounded however rare the wanted ones are, and no index by type is paid for by every event.
_HISTORY = """
select event_no, alias, event_type, event_timestamp,
    case when event_type = $2 and state = 'live' then properties end as properties
from usage_event
where account = $1 and event_no >= $3 and event_no < $4
order by event_no limit $5
"""

# One number of a block is one call, and blocks never meet: no lock, no waiting.
_NEXT_BLOCK = "select nextval('usage_event_block')"
NUMBERS_PER_BLOCK = 1 << 20


async def take_numbers(conn: Connection) -> int:
    """The first of NUMBERS_PER_BLOCK event numbers that are nobody else's."""
    first: int = await conn.fetchval(_NEXT_BLOCK)
    return first


async def save(
    conn: Connection, blocks: Sequence[Received], *, unstored: AbstractSet[int], states: Mapping[int, str]
) -> None:
    """Store blocks without what makes no row; `states` are of rows that do not live. Both name event numbers."""
    pieces = _pieces(blocks, unstored, states)
    await conn.copy_to_table("usage_event", source=pieces, columns=_COLUMNS, format="binary")


async def versions(conn: Connection, numbers: Collection[tuple[int, int]]) -> list[Version]:
    """The stored rows of (account, event_no) pairs."""
    accounts, event_nos = zip(*numbers, strict=True)
    return [
        Version(
            account=row["account"],
            event_no=row["event_no"],
            key=row["key"],
            alias=row["alias"],
            alias_value=row["alias_value"],
            event_type=row["event_type"],
            timestamp=(row["event_timestamp"] - _EPOCH) // _MICROSECOND,
            properties=row["properties"],
            state=row["state"],
            order=(row["entry_ms"], row["entry_sequence"], row["entry_index"]),
        )
        for row in await conn.fetch(_VERSIONS, accounts, event_nos)
    ]


async def set_states(conn: Connection, states: Collection[tuple[int, int, str]]) -> None:
    """Give stored rows, as (account, event_no, state), another state."""
    if states:
        await conn.execute(_SET_STATES, *zip(*sorted(states), strict=True))


async def set_times(conn: Connection, times: Collection[tuple[int, int, int]]) -> None:
    """Give stored rows, as (account, event_no, microseconds since 1970), another time."""
    if times:
        accounts, numbers, at = zip(*sorted(times), strict=True)
        await conn.execute(_SET_TIMES, accounts, numbers, [_EPOCH + one * _MICROSECOND for one in at])


async def history(
    conn: Connection, account: int, *, event_type: str, start: int, stop: int, limit: int
) -> tuple[list[tuple[int, int, str, int, str]], int | None]:
    """The live events of a type among the next `limit` stored ones from number `start` on, below `stop`, as
    (number, alias, type, timestamp, properties); and where to go on, None at the end.
    """
    rows = await conn.fetch(_HISTORY, account, event_type, start, stop, limit)
    found = [
        (
            row["event_no"],
            row["alias"],
            row["event_type"],
            (row["event_timestamp"] - _EPOCH) // _MICROSECOND,
            row["properties"],
        )
        for row in rows
        if row["properties"] is not None
    ]
    return found, rows[-1]["event_no"] + 1 if len(rows) == limit else None


# What is usually the same for a whole block stands first, so that it is made once.
_COLUMNS = (
    *("account", "received_at", "entry_ms", "entry_sequence", "state", "event_type", "customer_event_id"),
    *("event_no", "event_timestamp", "alias", "entry_index", "key", "properties"),
)
# The number of columns, then each column as its length and its value, big-endian.
_OF_BLOCK = Struct(">h" + "ii" + "iq" * 3).pack
_OF_EVENT = Struct(">" + "iq" * 2 + "ii" * 2 + "i16si").pack(8, 0, 8, 0, 4, 0, 4, 0, 16, b"", 0)
# Where among them the values stand.
_NUMBER_AT, _TIMESTAMP_AT, _ALIAS_AT, _INDEX_AT, _KEY_AT, _LENGTH_AT = 4, 16, 28, 36, 44, 60


async def _pieces(
    blocks: Sequence[Received], unstored: AbstractSet[int], states: Mapping[int, str]
) -> AsyncIterator[bytes]:
    """The COPY in pieces: Postgres stores one while the next is made."""
    pieces, size = [copy.HEAD], 0
    for block in blocks:
        pieces.append(_rows(block, unstored, states))
        size += len(block.properties)
        if size >= _ROWS_AT_ONCE:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join([*pieces, copy.END])


def _rows(block: Received, unstored: AbstractSet[int], states: Mapping[int, str]) -> bytes:
    """The rows of a block: what its events have in common, and what each has of its own."""
    numbers = range(block.first_no, block.first_no + len(block.properties))
    has_one_form = len(block.type_names) == 1 and not block.ids and states.keys().isdisjoint(numbers)
    common = _common(block, LIVE) + copy.text(block.type_names[0]) + copy.NULL if has_one_form else b""
    own: Iterable[tuple[bytes, bytes]] = zip(_own(block, numbers, common), block.properties, strict=True)
    if not unstored.isdisjoint(numbers):
        own = compress(own, [number not in unstored for number in numbers])
    if has_one_form:
        return b"".join(chain.from_iterable(own))
    heads = compress(_heads(block, numbers, states), [number not in unstored for number in numbers])
    return b"".join([head + fixed + text for head, (fixed, text) in zip(heads, own, strict=True)])


def _own(block: Received, numbers: range, common: bytes) -> Sequence[bytes]:
    """What has the same width for each event, behind what they have in common; its properties are still to follow."""
    row = common + _OF_EVENT
    rows, size, at = bytearray(row * len(numbers)), len(row), len(common)
    timestamps = [timestamp - _POSTGRES_EPOCH for timestamp in block.timestamps]
    indexes = range(block.first_index, block.first_index + len(numbers))
    copy.put(rows, copy.packed(copy.LONG, numbers), width=8, size=size, at=at + _NUMBER_AT)
    copy.put(rows, copy.packed(copy.LONG, timestamps), width=8, size=size, at=at + _TIMESTAMP_AT)
    copy.put(rows, copy.packed(copy.INTEGER, block.aliases), width=4, size=size, at=at + _ALIAS_AT)
    copy.put(rows, copy.packed(copy.INTEGER, indexes), width=4, size=size, at=at + _INDEX_AT)
    copy.put(rows, block.keys, width=16, size=size, at=at + _KEY_AT)
    lengths = copy.packed(copy.INTEGER, map(len, block.properties))
    copy.put(rows, lengths, width=4, size=size, at=at + _LENGTH_AT)
    return copy.split(rows, size)


def _heads(block: Received, numbers: range, states: Mapping[int, str]) -> Iterator[bytes]:
    """What stands before that, where it differs from event to event."""
    for place, number in enumerate(numbers):
        yield (
            _common(block, states.get(number, LIVE))
            + copy.text(block.type_names[block.types[place]])
            + (copy.text(block.ids[place]) if place in block.ids else copy.NULL)
        )


def _common(block: Received, state: str) -> bytes:
    received_at = block.received_at - _POSTGRES_EPOCH
    numbers = (4, block.account, 8, received_at, 8, block.entry_ms, 8, block.entry_sequence)
    return _OF_BLOCK(len(_COLUMNS), *numbers) + copy.text(state)
