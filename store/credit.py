"""Credit grants: what customers have.

Those that customers have of their own; grants of phases follow from the phases' terms and have no row. A balance is the
grant's amount less its draws (store/draw.py) and is kept nowhere. Whoever draws holds the grant's row from before the
draws are read until the new ones are committed (`hold`), so a grant is never overdrawn, however many draw at once.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec

from rating import credit as rating
from rating.terms import CreditUnit
from store.db import Connection
from store.error import GrantDrawn, NotFound
from store.page import Listing, Page, both_ways

_DAY = timedelta(days=1)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A grant as it is kept; dates inclusive. `drawn` is an answer, not an input."""

    id: UUID
    customer: UUID
    name: str
    unit: CreditUnit
    currency: str
    metric: UUID | None
    amount: Decimal
    cost: Decimal
    effective_date: date
    expiry_date: date | None
    created_at: datetime
    drawn: Decimal = Decimal(0)

    @property
    def balance(self) -> Decimal:
        return self.amount - self.drawn


def rated(grant: Grant) -> rating.Grant:
    """The grant as rating reads it, with what is left of it."""
    is_money = grant.unit is CreditUnit.CURRENCY
    return rating.Grant(
        id=str(grant.id),
        name=grant.name,
        unit=grant.unit,
        balance=grant.balance,
        start=grant.effective_date,
        end=None if grant.expiry_date is None else grant.expiry_date + _DAY,
        currency=grant.currency if is_money else None,
        metric_id=None if grant.metric is None else str(grant.metric),
    )


# Makes a grant.
_INSERT = """
insert into credit_grant (account, id, customer, name, unit, currency, metric, amount, cost, effective_date,
    expiry_date, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""


async def create(conn: Connection, account: int, *, grant: Grant) -> None:
    """Keep a new grant of a customer who exists."""
    values = (
        *(grant.id, grant.customer, grant.name, grant.unit, grant.currency, grant.metric, grant.amount, grant.cost),
        *(grant.effective_date, grant.expiry_date, grant.created_at),
    )
    await conn.execute(_INSERT, account, *values)


# One grant with its draws, by the primary key and credit_draw_grant.
_GET = """
select id, customer, name, unit, currency, metric, amount, cost, effective_date, expiry_date, created_at,
    (select coalesce(sum(draw.amount), 0) from credit_draw as draw
        where draw.account = credit_grant.account and draw.credit_grant = credit_grant.id) as drawn
from credit_grant where account = $1 and id = $2 and deleted_at is null
"""

# Locks a grant until the end of the transaction, by the primary key; a billing run waits meanwhile.
_LOCK = "select from credit_grant where account = $1 and id = $2 for update"


async def get(conn: Connection, account: int, *, grant: UUID) -> Grant:
    """One grant."""
    row = await conn.fetchrow(_GET, account, grant)
    if row is None:
        raise NotFound(f"There is no credit grant {grant}.")
    return _grant(row)


# Deletes a grant; its row stays, because draws may have been given back to it.
_DELETE = "update credit_grant set deleted_at = $3 where account = $1 and id = $2"


async def delete(conn: Connection, account: int, *, grant: UUID, now: datetime) -> Grant:
    """Delete a grant that nothing is drawn from, and return what it was. Call inside a transaction."""
    await conn.execute(_LOCK, account, grant)
    found = await get(conn, account, grant=grant)
    if found.drawn:
        raise GrantDrawn
    await conn.execute(_DELETE, account, grant, now)
    return found


# Lists grants, newest or oldest first, by the primary key.
_LIST = both_ways("""
select id, customer, name, unit, currency, metric, amount, cost, effective_date, expiry_date, created_at,
    (select coalesce(sum(draw.amount), 0) from credit_draw as draw
        where draw.account = credit_grant.account and draw.credit_grant = credit_grant.id) as drawn
from credit_grant
where account = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or id < $3) and deleted_at is null
order by id <direction> limit $4
""")

# How many grants there are.
_COUNT = "select count(*) from credit_grant where account = $1 and deleted_at is null"


async def listing(conn: Connection, account: int, *, page: Page) -> Listing[Grant]:
    """One page of grants."""
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, page.fetch_limit)
    return page.cut([_grant(row) for row in rows], total=await conn.fetchval(_COUNT, account))


# Locks the grants of customers until the end of the transaction, by credit_grant_customer; in one order, so that two
# who lock at once wait for each other and never for good.
_HOLD = """
select credit_grant.account, credit_grant.id
from unnest($1::integer[], $2::uuid[]) as wanted (account, customer) join credit_grant using (account, customer)
where deleted_at is null
order by credit_grant.account, credit_grant.id
for update of credit_grant
"""


async def hold(conn: Connection, customers: Collection[tuple[int, UUID]]) -> list[tuple[int, UUID]]:
    """Lock the grants of these (account, customer)s; answers (account, grant). Read and draw no others."""
    accounts, ids = [account for account, _ in customers], [customer for _, customer in customers]
    return [(row["account"], row["id"]) for row in await conn.fetch(_HOLD, accounts, ids)]


# Grants with their draws, by the primary key and credit_draw_grant. Serves billing and balances.
_LOAD = """
select id, customer, name, unit, currency, metric, amount, cost, effective_date, expiry_date, created_at,
    (select coalesce(sum(draw.amount), 0) from credit_draw as draw
        where draw.account = credit_grant.account and draw.credit_grant = credit_grant.id) as drawn
from credit_grant
where account = $1 and (id = any($2::uuid[]) or customer = $3) and deleted_at is null
order by id
"""


async def load(conn: Connection, account: int, *, grants: Sequence[UUID]) -> list[Grant]:
    """These grants, oldest first."""
    return [_grant(row) for row in await conn.fetch(_LOAD, account, list(grants), None)]


async def of_customer(conn: Connection, account: int, *, customer: UUID) -> list[Grant]:
    """The grants of a customer, oldest first."""
    return [_grant(row) for row in await conn.fetch(_LOAD, account, [], customer)]


# What the metrics of grants are called, deleted or not, by the primary key.
_METRIC_NAMES = "select id, name from usage_metric where account = $1 and id = any($2::uuid[])"


async def metric_names(conn: Connection, account: int, *, metrics: Collection[UUID]) -> dict[UUID, str]:
    """What these metrics are called."""
    return {row["id"]: row["name"] for row in await conn.fetch(_METRIC_NAMES, account, list(metrics))}


def _grant(row: asyncpg.Record) -> Grant:
    return Grant(**dict(row) | {"unit": CreditUnit(row["unit"])})
