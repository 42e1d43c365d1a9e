"""Aliases: under which name a customer's usage arrives, and from when to when.

A mapping is never erased. Ending it closes it at an instant of event time, and the next owner of the same value starts
there: what was billed to the first owner stays with the first owner. The first owner of a value has it from the
beginning, so usage that arrived before the mapping is attributed too.

Every customer has one mapping whose `id` and `value` are its own id; that one is never listed and never ends.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from store.db import Connection
from store.error import AliasTaken, NotFound, OwnAlias
from store.page import Listing, Page, both_ways


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """One mapping of a value to a customer."""

    id: UUID
    customer: UUID
    value: str
    label: str | None
    valid_from: datetime | None
    valid_to: datetime | None
    created_at: datetime


class NewAlias(msgspec.Struct, frozen=True):
    """A mapping to make."""

    id: UUID
    value: str
    label: str | None = None


# Makes mappings; each starts where the last owner of its value ended. customer_alias_open refuses a second open one.
_INSERT = """
insert into customer_alias (account, id, customer, value, label, valid_from, created_at)
select $1, wanted.id, $2, wanted.value, wanted.label,
    (select max(valid_to) from customer_alias as old where old.account = $1 and old.value = wanted.value), $6
from unnest($3::uuid[], $4::text[], $5::text[]) as wanted (id, value, label)
returning id, customer, value, label, valid_from, valid_to, created_at
"""

# Which of these values are taken now, by customer_alias_open; read only to name them in an error.
_TAKEN = """
select value, customer from customer_alias where account = $1 and value = any($2::text[]) and valid_to is null
order by value limit 1
"""


async def create(
    conn: Connection, account: int, *, customer: UUID, aliases: Sequence[NewAlias], now: datetime
) -> list[Alias]:
    """Map values to a customer, from where their last owner ended. Call inside a transaction."""
    ids, values, labels = [a.id for a in aliases], [a.value for a in aliases], [a.label for a in aliases]
    try:
        async with conn.transaction():
            rows = await conn.fetch(_INSERT, account, customer, ids, values, labels, now)
    except asyncpg.UniqueViolationError as exc:
        taken = await conn.fetchrow(_TAKEN, account, values)
        message = f"The alias `{taken['value']}` belongs to customer {taken['customer']}." if taken else None
        raise AliasTaken(f"{message} {AliasTaken.__doc__}" if message else None, key="value") from exc
    except asyncpg.ForeignKeyViolationError as exc:
        raise NotFound(f"There is no customer {customer}.", key="customerId") from exc
    return [_alias(row) for row in rows]


# The open mappings of one customer without its own id, by customer_alias_customer.
_OF_CUSTOMER = """
select id, customer, value, label, valid_from, valid_to, created_at from customer_alias
where account = $1 and customer = $2 and valid_to is null and id <> customer
order by id
"""


async def of_customer(conn: Connection, account: int, *, customer: UUID) -> list[Alias]:
    """The aliases a customer has now, oldest first."""
    return [_alias(row) for row in await conn.fetch(_OF_CUSTOMER, account, customer)]


# Renames a mapping's label, by the primary key.
_UPDATE = """
update customer_alias set label = $3 where account = $1 and id = $2 and id <> customer
returning id, customer, value, label, valid_from, valid_to, created_at
"""


async def update(conn: Connection, account: int, *, alias: UUID, label: str | None) -> Alias:
    """Change a mapping's label, the only thing that changes."""
    return await _changed(conn, account, alias=alias, row=await conn.fetchrow(_UPDATE, account, alias, label))


# Ends a mapping now, once; by the primary key. A clock that stands still must not make an empty span.
_END = """
update customer_alias set valid_to = coalesce(valid_to, greatest($3, valid_from + interval '1 microsecond'))
where account = $1 and id = $2 and id <> customer
returning id, customer, value, label, valid_from, valid_to, created_at
"""


async def end(conn: Connection, account: int, *, alias: UUID, now: datetime) -> Alias:
    """End a mapping at `now`; one that has ended stays as it is."""
    return await _changed(conn, account, alias=alias, row=await conn.fetchrow(_END, account, alias, now))


# Tells a customer's own id from an id that is nowhere, by the primary key.
_EXISTS = "select exists (select from customer_alias where account = $1 and id = $2)"


async def _changed(conn: Connection, account: int, *, alias: UUID, row: asyncpg.Record | None) -> Alias:
    if row is not None:
        return _alias(row)
    if await conn.fetchval(_EXISTS, account, alias):
        raise OwnAlias
    raise NotFound(f"There is no customer alias {alias}.")


# Lists open mappings, newest or oldest first, by the primary key; one value by customer_alias_open.
_LIST = both_ways("""
select id, customer, value, label, valid_from, valid_to, created_at from customer_alias
where account = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or id < $3)
    and ($5::text is null or value = $5) and valid_to is null and id <> customer
order by id <direction> limit $4
""")

# How many mappings the same filter leaves.
_COUNT = """
select count(*) from customer_alias
where account = $1 and ($2::text is null or value = $2) and valid_to is null and id <> customer
"""


async def listing(conn: Connection, account: int, *, value: str | None, page: Page) -> Listing[Alias]:
    """One page of the mappings that hold now."""
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, page.fetch_limit, value)
    total = await conn.fetchval(_COUNT, account, value)
    return page.cut([_alias(row) for row in rows], total=total)


def _alias(row: asyncpg.Record) -> Alias:
    return Alias(**dict(row))
