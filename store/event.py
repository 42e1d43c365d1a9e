"""Raw events: what was received, as it was received, one row per version.

    Columns     events as they came, column by column
    Received    the same, numbered; `save` stores them with one COPY
    Version     one stored row, as corrections need it
    history     stored events in the order of their numbers, a piece at a time, for a metric that is born after them

COPY takes rows in Postgres' own binary form, built here: no other way in costs less than half of the time.
Instants are microseconds since 1970 in UTC on this side; Postgres counts from 2000.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, compress
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from store import copy
from store.db import Connection

_ROWS_AT_ONCE = 2_000
# Fewer rows that differ in numbers only are made one by one, which costs less than to lay them out together.
_ALIKE_MIN = 20
# Where fewer than one of so many are wanted, each is cut out by itself.
_SPARSE = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSTGRES_EPOCH = 946_684_800_000_000
_MICROSECOND = timedelta(microseconds=1)

# What becomes of a row: it counts; other content took its place; it was cancelled.
LIVE, SUPERSEDED, CANCELLED = "live", "superseded", "cancelled"


class Columns(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Events as they came. `types` are places among the names; `ids` has, by place, the ids that are not the key;
    `lines` the canonical JSON of each event's properties and a line feed.
    """

    accounts: NDArray[np.int32]
    received_at: NDArray[np.int64]
    entry_ms: NDArray[np.int64]
    entry_sequences: NDArray[np.int64]
    entry_indexes: NDArray[np.int64]
    # 16 bytes each.
    keys: NDArray[np.void]
    ids: Mapping[int, str]
    type_names: Sequence[str]
    types: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    lines: bytes
    # Where each line begins, and the last one ends.
    line_bounds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)

    def lines_at(self, places: NDArray[np.int64]) -> bytes:
        """The lines of the events at these places, at least one, in order; cheap if they follow one another."""
        if places[-1] - places[0] + 1 == len(places):
            return self.lines[self.line_bounds[places[0]] : self.line_bounds[places[-1] + 1]]
        return b"".join([text + b"\n" for text in self.texts_at(places)])

    def texts_at(self, places: NDArray[np.int64]) -> list[bytes]:
        """The same one by one, without line feeds; cheap if they are close together."""
        first, last = int(places[0]), int(places[-1])
        if last - first < _SPARSE * len(places):
            texts = self.lines[self.line_bounds[first] : self.line_bounds[last + 1]].splitlines()
            return texts if len(texts) == len(places) else [*map(texts.__getitem__, (places - first).tolist())]
        bounds = zip(self.line_bounds[places].tolist(), (self.line_bounds[places + 1] - 1).tolist(), strict=True)
        return [self.lines[start:end] for start, end in bounds]


class Received(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Events with the numbers from `first_no` on, numbers of aliases, and timestamps, which may be other ones now."""

    first_no: int
    columns: Columns
    aliases: NDArray[np.int32]
    timestamps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.columns)


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


async def save(conn: Connection, received: Received, places: NDArray[np.int64], *, states: Mapping[int, str]) -> None:
    """Store the events at these places, in order; `states`, by event number, are of rows that do not live."""
    pieces = _pieces(received, places, states)
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


# What has one width stands first.
_ROW = copy.row(
    {
        "account": ">i4",
        "received_at": ">i8",
        "entry_ms": ">i8",
        "entry_sequence": ">i8",
        "event_no": ">i8",
        "event_timestamp": ">i8",
        "alias": ">i4",
        "entry_index": ">i4",
        "key": "V16",
    },
    more=4,
)
_COLUMNS = (
    *("account", "received_at", "entry_ms", "entry_sequence", "event_no", "event_timestamp", "alias", "entry_index"),
    *("key", "event_type", "state", "customer_event_id", "properties"),
)


async def _pieces(received: Received, places: NDArray[np.int64], states: Mapping[int, str]) -> AsyncIterator[bytes]:
    """The COPY in pieces: Postgres stores one while the next is made."""
    yield copy.HEAD
    # What differs from the rest of its type has its row made by itself.
    is_plain = np.ones(len(received), np.bool_)
    is_plain[[number - received.first_no for number in states]] = False
    is_plain[list(received.columns.ids)] = False
    for start in range(0, len(places), _ROWS_AT_ONCE):
        some = places[start : start + _ROWS_AT_ONCE]
        texts = received.columns.texts_at(some)
        types, rest = received.columns.types[some], np.ones(len(some), np.bool_)
        for type_, count in zip(*np.unique(types[is_plain[some]], return_counts=True), strict=True):
            if count >= _ALIKE_MIN:
                chosen = is_plain[some] & (types == type_)
                rest &= ~chosen
                yield _alike(received, _Rows(some[chosen], list(compress(texts, chosen))), int(type_))
        if rest.any():
            yield _unlike(received, _Rows(some[rest], list(compress(texts, rest))), states)
    yield copy.END


class _Rows(msgspec.Struct, frozen=True, eq=False):
    """Some events, by place, and their properties."""

    places: NDArray[np.int64]
    texts: list[bytes]

    @property
    def lengths(self) -> list[int]:
        """Of their properties."""
        return list(map(len, self.texts))


def _alike(received: Received, of: _Rows, type_: int) -> bytes:
    """Rows that differ in nothing but numbers and properties."""
    same = copy.text(received.columns.type_names[type_]) + copy.text(LIVE) + copy.NULL
    rows = _filled(received, of, copy.followed(_ROW, {"same": f"V{len(same)}", "length": ">i4"}))
    rows["same"] = np.void(same)
    rows["length"] = of.lengths
    return b"".join(chain.from_iterable(zip(copy.split(rows), of.texts, strict=True)))


def _unlike(received: Received, of: _Rows, states: Mapping[int, str]) -> bytes:
    """Rows that have a state or an id to tell."""
    places = of.places.tolist()
    types = received.columns.types[places].tolist()
    heads = copy.split(_filled(received, of, _ROW))
    return b"".join(
        [
            head
            + copy.text(received.columns.type_names[type_])
            + copy.text(states.get(received.first_no + place, LIVE))
            + (copy.text(received.columns.ids[place]) if place in received.columns.ids else copy.NULL)
            + copy.value_of(text)
            for place, type_, head, text in zip(places, types, heads, of.texts, strict=True)
        ]
    )


def _filled(received: Received, of: _Rows, row: copy.Rows) -> Any:
    """These rows with everything that has one width."""
    places = of.places
    rows = row.repeat(len(places))
    rows["account"] = received.columns.accounts[places]
    rows["received_at"] = received.columns.received_at[places] - _POSTGRES_EPOCH
    rows["entry_ms"] = received.columns.entry_ms[places]
    rows["entry_sequence"] = received.columns.entry_sequences[places]
    rows["event_no"] = received.first_no + places
    rows["event_timestamp"] = received.timestamps[places] - _POSTGRES_EPOCH
    rows["alias"] = received.aliases[places]
    rows["entry_index"] = received.columns.entry_indexes[places]
    rows["key"] = received.columns.keys[places]
    return rows
