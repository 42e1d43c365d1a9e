"""The events of backfills, and what closing and reverting must know of others.

load          keep events that nobody sees yet
staged        the events of an open backfill in the order in which they came, a piece at a time
replace       which live events a close takes back, remembered for the revert
own           the rows that a closed backfill stored
withdraw      rows go back to where nobody sees them, as if they had never been counted
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from store import backfill, usage_alias
from store.backfill import Backfill
from store.db import Connection


class Loaded(msgspec.Struct, frozen=True):
    """An event of a load, in the columns of usage_backfill_event."""

    key: UUID
    digest: int
    # None: the key is the id.
    customer_event_id: str | None
    alias: str
    event_type: str
    event_timestamp: datetime
    properties: str


class Staged(msgspec.Struct, frozen=True):
    """The same with its place in the load."""

    place: int
    event: Loaded


_LOADED_COLUMNS = (
    *("account", "backfill", "received_at"),
    *("key", "digest", "customer_event_id", "alias", "event_type", "event_timestamp", "properties"),
)


async def load(conn: Connection, account: int, *, into: UUID, events: Sequence[Loaded], received_at: datetime) -> None:
    """Keep events of a load; the caller counts them with backfill.add_loaded in the same transaction."""
    rows = [(account, into, received_at, *msgspec.structs.astuple(event)) for event in events]
    await conn.copy_records_to_table("usage_backfill_event", records=rows, columns=_LOADED_COLUMNS)


# The next ones, by the primary key.
_STAGED = """
select place, key, digest, customer_event_id, alias, event_type, event_timestamp, properties
from usage_backfill_event
where account = $1 and backfill = $2 and place > $3 and digest is not null
order by place limit $4
"""


async def staged(conn: Connection, account: int, *, of: UUID, after: int, limit: int) -> list[Staged]:
    """Up to `limit` events behind a place."""
    rows = await conn.fetch(_STAGED, account, of, after, limit)
    return [Staged(row["place"], Loaded(*row[1:])) for row in rows]


# They are rows of usage_event now.
_UNSTAGE = "delete from usage_backfill_event where account = $1 and backfill = $2"


async def unstage(conn: Connection, account: int, *, of: UUID) -> None:
    """Drop the events of a load, which are counted."""
    await conn.execute(_UNSTAGE, account, of)


# Live events of the segments, received before the close, whose id the load does not have; by usage_event_alias_time,
# usage_backfill_event_key and the primary key of event_version: a row that was stored later may have been received
# before as well.
_REPLACEABLE = """
select event.key
from unnest($3::integer[], $4::timestamptz[], $5::timestamptz[]) as segment (alias, start, stop)
join usage_event as event
    on event.account = $1 and event.alias = segment.alias
    and event.event_timestamp >= segment.start and event.event_timestamp < segment.stop
where event.state = 'live'
    and ((event.entry_ms, event.entry_sequence) < ($6, $7) or exists (
        select from event_version as item
        where item.account = $1 and item.key = event.key and item.event_no = event.event_no
            and (item.entry_ms, item.entry_sequence) < ($6, $7)))
    and not exists (
    select from usage_backfill_event as load
    where load.account = $1 and load.backfill = $2 and load.key = event.key)
limit $8
"""

# Remembers them; no two rows of one id live.
# ruff: noqa: S608 - built from constants
_REPLACE = f"""
insert into usage_backfill_replaced (account, backfill, key)
select $1, $2, found.key from ({_REPLACEABLE}) as found
"""


async def replace(conn: Connection, account: int, *, of: Backfill, events_max: int) -> int:
    """Choose the live events that this close takes back; answers how many, at most one more than `events_max`."""
    names = await usage_alias.numbers(conn, account, aliases=[segment.alias for segment in of.segments])
    segments = [(names[one.alias], one.start, one.end) for one in of.segments if one.alias in names]
    if not segments:
        return 0
    status = await conn.execute(_REPLACE, account, of.id, *zip(*segments, strict=True), *of.order, events_max + 1)
    return int(status.rpartition(" ")[2])


# Ids of the load whose history names rows of others: what it repeated of theirs. By usage_backfill_event_key's table,
# and the primary key of event_version; those that the close replaced are no part of the load.
_REMEMBER_REPEATS = """
insert into usage_backfill_replaced (account, backfill, key)
select distinct item.account, load.backfill, item.key
from usage_backfill_event as load join event_version as item on item.account = load.account and item.key = load.key
where load.account = $1 and load.backfill = $2
    and item.entry_ms = $3 and item.entry_sequence >= $4 and item.entry_sequence < $5
    and not exists (
        select from unnest($6::bigint[], $7::bigint[]) as own (start, stop)
        where item.event_no >= own.start and item.event_no < own.stop)
on conflict (account, backfill, key) do nothing
"""


async def remember_repeats(conn: Connection, account: int, *, of: Backfill, numbers: Sequence[tuple[int, int]]) -> None:
    """Remember ids of which a close left something behind in the history of others' rows; `numbers` are its own."""
    milliseconds, first = of.order
    starts, stops = [start for start, _ in numbers], [stop for _, stop in numbers]
    last = first + backfill.PIECES_MAX
    await conn.execute(_REMEMBER_REPEATS, account, of.id, milliseconds, first, last, starts, stops)


# The next ones, by the primary key.
_REPLACED = """
select key from usage_backfill_replaced where account = $1 and backfill = $2 and ($3::uuid is null or key > $3)
order by key limit $4
"""


async def replaced(conn: Connection, account: int, *, of: UUID, after: UUID | None, limit: int) -> list[UUID]:
    """Up to `limit` ids that the close took back, or repeated, behind an id."""
    return [row["key"] for row in await conn.fetch(_REPLACED, account, of, after, limit)]


# A revert has given them back.
_FORGET_REPLACED = "delete from usage_backfill_replaced where account = $1 and backfill = $2"


async def forget_replaced(conn: Connection, account: int, *, of: UUID) -> None:
    """Forget what a close took back."""
    await conn.execute(_FORGET_REPLACED, account, of)


# Rows of a range of event numbers, by the primary key of every partition.
_OWN = """
select event_no, key from usage_event where account = $1 and event_no >= $2 and event_no < $3 order by event_no limit $4
"""


async def own(conn: Connection, account: int, *, numbers: tuple[int, int], limit: int) -> list[tuple[int, UUID]]:
    """Up to `limit` stored rows of a range of event numbers: number and key."""
    return [(row["event_no"], row["key"]) for row in await conn.fetch(_OWN, account, *numbers, limit)]


# How many there are.
_COUNT_OWN = """
select count(*) from unnest($2::bigint[], $3::bigint[]) as range (start, stop)
join usage_event as event on event.account = $1 and event.event_no >= range.start and event.event_no < range.stop
"""


async def count_own(conn: Connection, account: int, *, of: Backfill) -> int:
    """How many rows a closed backfill has; fewer than it stored if retention has dropped some."""
    starts, stops = [start for start, _ in of.numbers], [stop for _, stop in of.numbers]
    found: int = await conn.fetchval(_COUNT_OWN, account, starts, stops)
    return found


# Moves rows back, by the primary key of every partition.
_WITHDRAW = """
with gone as (
    delete from usage_event using unnest($3::bigint[]) as old (event_no)
    where usage_event.account = $1 and usage_event.event_no = old.event_no
    returning usage_event.*
)
insert into usage_backfill_event (account, backfill, received_at, key, customer_event_id, alias, event_type,
    event_timestamp, properties)
select gone.account, $2, gone.received_at, gone.key, gone.customer_event_id, name.value, gone.event_type,
    gone.event_timestamp, gone.properties
from gone join usage_alias as name using (account, alias)
order by gone.event_no
"""


async def withdraw(conn: Connection, account: int, *, of: UUID, numbers: Collection[int]) -> None:
    """Move stored rows to where nobody sees them."""
    await conn.execute(_WITHDRAW, account, of, list(numbers))


# What these ids stand for, by the primary key.
_KEYS = "select key, event_no, digest from event_key where account = $1 and key = any($2::uuid[])"


async def standing(conn: Connection, account: int, *, keys: Collection[UUID]) -> dict[UUID, tuple[int, int]]:
    """What these ids stand for: event number and digest."""
    rows = await conn.fetch(_KEYS, account, list(keys))
    return {row["key"]: (row["event_no"], row["digest"]) for row in rows}


# An id that nobody has sent any more may be sent again; by the primary key.
_FREE_KEYS = "delete from event_key where account = $1 and key = any($2::uuid[])"

# Takes what a close received out of the history of ids, by the primary key.
_FORGET_ITEMS = """
delete from event_version
where account = $1 and key = any($2::uuid[]) and entry_ms = $3 and entry_sequence >= $4 and entry_sequence < $5
"""


async def free(conn: Connection, account: int, *, keys: Collection[UUID]) -> None:
    """Let nobody have sent these ids."""
    if keys:
        await conn.execute(_FREE_KEYS, account, list(keys))


async def forget_items(conn: Connection, account: int, *, of: Backfill, keys: Collection[UUID]) -> None:
    """Take what the close of a backfill received out of the history of these ids."""
    milliseconds, first = of.order
    await conn.execute(_FORGET_ITEMS, account, list(keys), milliseconds, first, first + backfill.PIECES_MAX)
