"""Credit grants: what customers have, and what invoices took of it.

    credit_grant   stand-alone grants; those of phases follow from the phases' terms and have no row
    credit_draw    append-only: what was taken from a grant, or with a minus given back

A balance is the grant's amount less its draws and is kept nowhere. Whoever draws holds the grant's row from before the
draws are read until the new ones are committed (`hold`), so a grant is never overdrawn, however many draw at once.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from rating import credit as rating
from rating.invoice import Draw
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


class NewDraw(msgspec.Struct, frozen=True, kw_only=True):
    """What an invoice takes from a grant."""

    account: int
    customer: UUID
    schedule: UUID
    invoice: UUID
    bill_date: date
    name: str
    draw: Draw


class StoredDraw(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken. `grant` is a stand-alone grant's id, or that of a phase's grant with its day of issue."""

    id: UUID
    invoice: UUID
    grant: str
    name: str
    unit: CreditUnit
    currency: str
    amount: Decimal
    net_minor: int
    tax_minor: int
    bill_date: date


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


async def metric_names(conn: Connection, account: int, *, grants: Iterable[Grant]) -> dict[UUID, str]:
    """What the metrics of these grants are called."""
    wanted = {grant.metric for grant in grants if grant.metric is not None}
    return {row["id"]: row["name"] for row in await conn.fetch(_METRIC_NAMES, account, list(wanted))}


# What schedules have drawn from the grants of their phases, by credit_draw_schedule. Serves billing.
_DRAWN = """
select schedule, phase_grant, sum(amount) as amount from credit_draw
where account = $1 and schedule = any($2::uuid[]) and phase_grant is not null
group by schedule, phase_grant
"""


async def drawn(conn: Connection, account: int, *, schedules: Sequence[UUID]) -> dict[UUID, dict[str, Decimal]]:
    """By schedule and id of a phase's grant what was drawn from it."""
    found: dict[UUID, dict[str, Decimal]] = {schedule: {} for schedule in schedules}
    for row in await conn.fetch(_DRAWN, account, list(schedules)):
        found[row["schedule"]][row["phase_grant"]] = row["amount"]
    return found


_COLUMNS = (
    *("account", "id", "customer", "schedule", "invoice", "credit_grant", "phase_grant", "name", "unit", "amount"),
    *("net_minor", "tax_minor", "bill_date", "created_at"),
)


async def take(conn: Connection, draws: Iterable[NewDraw], *, new_id: Callable[[], UUID], now: datetime) -> None:
    """Keep what invoices take; the grants are held in this transaction."""
    records = [_record(one, id_=new_id(), now=now) for one in draws]
    if records:
        await conn.copy_records_to_table("credit_draw", columns=_COLUMNS, records=records)


# What invoices took, by credit_draw_invoice.
_OF_INVOICES = """
select draw.id, draw.invoice, coalesce(credit_grant::text, phase_grant) as grant, draw.name, unit, invoice.currency,
    amount, net_minor, tax_minor, draw.bill_date
from credit_draw as draw join invoice on invoice.account = draw.account and invoice.id = draw.invoice
where draw.account = $1 and draw.invoice = any($2::uuid[])
order by draw.id
"""

# What was taken from the stand-alone grants of a customer, by credit_draw_grant.
_OF_CUSTOMER = """
select draw.id, draw.invoice, draw.credit_grant::text as grant, draw.name, draw.unit, invoice.currency, draw.amount,
    net_minor, tax_minor, draw.bill_date
from credit_grant
join credit_draw as draw on draw.account = credit_grant.account and draw.credit_grant = credit_grant.id
join invoice on invoice.account = draw.account and invoice.id = draw.invoice
where credit_grant.account = $1 and credit_grant.customer = $2 and deleted_at is null
order by draw.id
"""


async def of_invoices(conn: Connection, account: int, *, invoices: Sequence[UUID]) -> dict[UUID, list[StoredDraw]]:
    """What each invoice took, in the order of burning."""
    found: dict[UUID, list[StoredDraw]] = {invoice: [] for invoice in invoices}
    for row in await conn.fetch(_OF_INVOICES, account, list(invoices)):
        found[row["invoice"]].append(_draw(row))
    return found


async def draws_of_customer(conn: Connection, account: int, *, customer: UUID) -> list[StoredDraw]:
    """What was taken from a customer's own grants, oldest first."""
    return [_draw(row) for row in await conn.fetch(_OF_CUSTOMER, account, customer)]


def _grant(row: asyncpg.Record) -> Grant:
    return Grant(**dict(row) | {"unit": CreditUnit(row["unit"])})


def _draw(row: asyncpg.Record) -> StoredDraw:
    return StoredDraw(**dict(row) | {"unit": CreditUnit(row["unit"])})


def _record(one: NewDraw, *, id_: UUID, now: datetime) -> tuple[Any, ...]:
    draw = one.draw
    # The id of a phase's grant ends with its day of issue (rating.credit.issued).
    is_of_phase = "@" in draw.grant_id
    return (
        *(one.account, id_, one.customer, one.schedule, one.invoice),
        *((None, draw.grant_id) if is_of_phase else (UUID(draw.grant_id), None)),
        *(one.name, draw.unit, draw.amount, draw.net_minor, draw.tax_minor, one.bill_date, now),
    )
