"""Seat metrics: the types of seats that are told apart.

`seat_type` is the key that events and prices name; it never changes. A deleted metric gives its key free.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from store.db import Connection
from store.error import NotFound, SeatMetricInUse, SeatTypeTaken
from store.page import Listing, Page, both_ways


class SeatMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A type of seat, and how people call it."""

    id: UUID
    seat_type: str
    label: str
    description: str | None
    created_at: datetime
    updated_at: datetime


# Makes a type; its key is taken while the other one lives (seat_metric_type).
_INSERT = """
insert into seat_metric (account, id, seat_type, label, description, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7)
"""


async def create(conn: Connection, account: int, *, metric: SeatMetric) -> None:
    """Keep a new type."""
    try:
        await conn.execute(_INSERT, account, *msgspec.structs.astuple(metric))
    except asyncpg.UniqueViolationError as exc:
        raise SeatTypeTaken(key="seatType") from exc


# Types by the primary key, deleted or not: what a bill was agreed on goes on to be counted. Serves billing.
_TYPES = "select id, seat_type from seat_metric where account = $1 and id = any($2::uuid[])"


async def types(conn: Connection, account: int, *, metrics: Sequence[UUID]) -> dict[UUID, str]:
    """The key that events name, of each of these metrics that exists."""
    return {row["id"]: row["seat_type"] for row in await conn.fetch(_TYPES, account, metrics)}


# Holds a type until a price has it: who deletes the type waits, and then sees the price.
_HOLD = "select from seat_metric where account = $1 and id = $2 and deleted_at is null for share"


async def hold(conn: Connection, account: int, *, metric: UUID, key: str | None = None) -> None:
    """Keep a type from being deleted until the end of the transaction; `key` names the field that asked for it."""
    if await conn.fetchrow(_HOLD, account, metric) is None:
        raise NotFound(f"There is no seat metric {metric}. Create it first.", key=key)


# One type, by the primary key.
_GET = """
select id, seat_type, label, description, created_at, updated_at from seat_metric
where account = $1 and id = $2 and deleted_at is null
"""


async def get(conn: Connection, account: int, *, metric: UUID) -> SeatMetric:
    """One type that is not deleted."""
    return _found(await conn.fetchrow(_GET, account, metric), metric)


# Changes what people read, by the primary key.
_UPDATE = """
update seat_metric set label = $3, description = $4, updated_at = $5
where account = $1 and id = $2 and deleted_at is null
returning id, seat_type, label, description, created_at, updated_at
"""


async def update(
    conn: Connection, account: int, *, metric: UUID, label: str, description: str | None, now: datetime
) -> SeatMetric:
    """Change how a type is called; nothing else changes."""
    return _found(await conn.fetchrow(_UPDATE, account, metric, label, description, now), metric)


# Whether a price bills by the type; reads the account's prices, deleting types is rare.
_IS_USED = "select exists (select from price where account = $1 and structure ->> 'seatMetricId' = $2::uuid::text)"

# The row stays: invoices may name it.
_DELETE = """
update seat_metric set deleted_at = $3, updated_at = $3 where account = $1 and id = $2 and deleted_at is null
returning id, seat_type, label, description, created_at, updated_at
"""


async def delete(conn: Connection, account: int, *, metric: UUID, now: datetime) -> SeatMetric:
    """Let a type count no more, unless a price bills by it. Its events stay. Call inside a transaction."""
    deleted = _found(await conn.fetchrow(_DELETE, account, metric, now), metric)
    # Asked after the row is locked, so that a price that was just being made is seen.
    if await conn.fetchval(_IS_USED, account, metric):
        raise SeatMetricInUse
    return deleted


# Lists types, newest or oldest first, by the primary key.
_LIST = both_ways("""
select id, seat_type, label, description, created_at, updated_at from seat_metric
where account = $1 and deleted_at is null and ($2::uuid is null or id > $2) and ($3::uuid is null or id < $3)
order by id <direction> limit $4
""")

# How many there are.
_COUNT = "select count(*) from seat_metric where account = $1 and deleted_at is null"


async def listing(conn: Connection, account: int, *, page: Page) -> Listing[SeatMetric]:
    """One page of types."""
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, page.fetch_limit)
    return page.cut([SeatMetric(**dict(row)) for row in rows], total=await conn.fetchval(_COUNT, account))


def _found(row: asyncpg.Record | None, metric: UUID) -> SeatMetric:
    if row is None:
        raise NotFound(f"There is no seat metric {metric}.")
    return SeatMetric(**dict(row))
