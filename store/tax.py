"""Tax rates: how they are kept.

    tax_rate -> versions; the current one is what new bills use, the others explain old ones

A rate of 0.2 is 20 %. A published rate is found by the customer's country; any rate can be chosen by hand for a price.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from store.db import Connection
from store.error import NotFound, TaxRateArchived, TaxRateInUse
from store.page import Listing, Page, both_ways


class TaxRate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate in its current version."""

    id: UUID
    version_id: UUID
    version: int
    is_published: bool
    name: str
    invoice_name: str
    invoice_short_name: str
    description: str | None
    amount: Decimal
    country: str
    region: str | None
    tax_category: UUID | None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None


# Makes a rate, without its first version.
_INSERT = "insert into tax_rate (account, id, version, created_at, updated_at) values ($1, $2, $3, $4, $5)"

# Adds a version to a rate.
_INSERT_VERSION = """
insert into tax_rate_version (account, id, tax_rate, version, is_published, name, invoice_name, invoice_short_name,
    description, amount, country, region, tax_category, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""


async def create(conn: Connection, account: int, *, rate: TaxRate) -> None:
    """Keep a new rate. Call inside a transaction."""
    await conn.execute(_INSERT, account, rate.id, rate.version, rate.created_at, rate.updated_at)
    await conn.execute(_INSERT_VERSION, account, *_version(rate))


# Moves a rate to another version, by the primary key.
_UPDATE = "update tax_rate set version = $3, updated_at = $4 where account = $1 and id = $2"


async def update(conn: Connection, account: int, *, rate: TaxRate) -> None:
    """Keep a rate's next version; the caller has read it for update in this transaction."""
    await conn.execute(_UPDATE, account, rate.id, rate.version, rate.updated_at)
    await conn.execute(_INSERT_VERSION, account, *_version(rate))


# Rates in their current version, by the primary key and the unique key on versions.
_GET = """
select tax_rate.id, version.id as version_id, version, is_published, name, invoice_name, invoice_short_name,
    description, amount, country, region, tax_category, tax_rate.created_at, updated_at, archived_at
from tax_rate join tax_rate_version as version using (account, version)
where account = $1 and tax_rate.id = any($2::uuid[]) and version.tax_rate = tax_rate.id and deleted_at is null
"""

# Locks a rate until the end of the transaction, by the primary key: it changes, or is deleted.
_LOCK = "select from tax_rate where account = $1 and id = $2 for update"

# Holds rates that a schedule takes, by the primary key, so that they are not deleted meanwhile.
_HOLD = "select from tax_rate where account = $1 and id = any($2::uuid[]) for key share"


async def get(conn: Connection, account: int, *, rate: UUID, for_update: bool = False) -> TaxRate:
    """One rate, archived or not."""
    if for_update:
        await conn.execute(_LOCK, account, rate)
    found = await load(conn, account, rates=[rate])
    if rate not in found:
        raise NotFound(f"There is no tax rate {rate}.")
    return found[rate]


async def load(conn: Connection, account: int, *, rates: Collection[UUID]) -> dict[UUID, TaxRate]:
    """These rates in their current version, as far as they exist."""
    rows = await conn.fetch(_GET, account, list(rates))
    return {row["id"]: _rate(row) for row in rows}


async def check_usable(conn: Connection, account: int, *, rates: Mapping[str, UUID], known: Collection[UUID]) -> None:
    """Refuse rates that do not exist, or that are archived and not `known` to whoever takes them; hold the others.

    `rates` says for each which field names it.
    """
    wanted = list(set(rates.values()))
    await conn.execute(_HOLD, account, wanted)
    found = await load(conn, account, rates=wanted)
    for key, rate in rates.items():
        if rate not in found:
            raise NotFound(f"There is no tax rate {rate}.", key=key)
        if found[rate].archived_at is not None and rate not in known:
            raise TaxRateArchived(key=key)


# The published rates of countries; an account has dozens of rates, so they are read row by row.
_PUBLISHED = """
select tax_rate.id, version.id as version_id, version, is_published, name, invoice_name, invoice_short_name,
    description, amount, country, region, tax_category, tax_rate.created_at, updated_at, archived_at
from tax_rate join tax_rate_version as version using (account, version)
where account = $1 and version.tax_rate = tax_rate.id and country = any($2::text[]) and is_published
    and archived_at is null and deleted_at is null
order by tax_rate.id
"""


async def published(conn: Connection, account: int, *, countries: Collection[str]) -> list[TaxRate]:
    """The rates that are found by country."""
    return [_rate(row) for row in await conn.fetch(_PUBLISHED, account, list(countries))]


# Archives a rate once, by the primary key.
_ARCHIVE = """
update tax_rate set updated_at = case when archived_at is null then $3 else updated_at end,
    archived_at = coalesce(archived_at, $3)
where account = $1 and id = $2
"""


async def archive(conn: Connection, account: int, *, rate: UUID, now: datetime) -> None:
    """Close a rate to new schedules and new bills that look for one; schedules that name it go on."""
    await conn.execute(_ARCHIVE, account, rate, now)


# Whether a schedule names the rate, for a price or a credit grant; reads the account's schedules, deleting is rare.
_IS_USED = """
select exists (
        select from billing_schedule where account = $1 and tax_rates @> jsonb_build_array(
            jsonb_build_object('taxRateId', $2::uuid)))
    or exists (
        select from billing_phase where account = $1 and terms -> 'grants' @> jsonb_build_array(
            jsonb_build_object('tax_rate_id', $2::uuid)))
"""

# Deletes a rate; its row stays, because versions explain what was billed.
_DELETE = "update tax_rate set deleted_at = $3 where account = $1 and id = $2"


async def delete(conn: Connection, account: int, *, rate: UUID, now: datetime) -> TaxRate:
    """Delete a rate that no schedule names, and return what it was. Call inside a transaction."""
    found = await get(conn, account, rate=rate, for_update=True)
    if await conn.fetchval(_IS_USED, account, rate):
        raise TaxRateInUse
    await conn.execute(_DELETE, account, rate, now)
    return found


# Lists rates, newest or oldest first, by the primary key.
_LIST = both_ways("""
select tax_rate.id, version.id as version_id, version, is_published, name, invoice_name, invoice_short_name,
    description, amount, country, region, tax_category, tax_rate.created_at, updated_at, archived_at
from tax_rate join tax_rate_version as version using (account, version)
where account = $1 and ($2::uuid is null or tax_rate.id > $2) and ($3::uuid is null or tax_rate.id < $3)
    and version.tax_rate = tax_rate.id and archived_at is null and deleted_at is null
order by tax_rate.id <direction> limit $4
""")

# How many rates there are.
_COUNT = "select count(*) from tax_rate where account = $1 and archived_at is null and deleted_at is null"


async def listing(conn: Connection, account: int, *, page: Page) -> Listing[TaxRate]:
    """One page of rates that are not archived."""
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, page.fetch_limit)
    total = await conn.fetchval(_COUNT, account)
    return page.cut([_rate(row) for row in rows], total=total)


def _rate(row: asyncpg.Record) -> TaxRate:
    return TaxRate(**dict(row))


def _version(rate: TaxRate) -> tuple[Any, ...]:
    return (
        *(rate.version_id, rate.id, rate.version, rate.is_published, rate.name, rate.invoice_name),
        *(rate.invoice_short_name, rate.description, rate.amount, rate.country, rate.region, rate.tax_category),
        rate.updated_at,
    )
