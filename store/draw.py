"""Draws: what invoices took from credit grants.

    credit_draw    append-only; what is given back is a row with a minus

A draw names a stand-alone grant (store/credit.py) or a grant of a phase: its terms' id and its day of issue, as in
`rating.credit.issued`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from rating.invoice import Draw
from rating.terms import CreditUnit
from store.db import Connection


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


# What schedules have drawn from the grants of their phases, by credit_draw_bill. Serves billing.
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


# What invoices took and did not give back, by credit_draw_invoice; in the order of burning.
_OF_INVOICES = """
select min(draw.id::text)::uuid as id, draw.invoice, coalesce(credit_grant::text, phase_grant) as grant,
    min(draw.name) as name, unit, invoice.currency, sum(amount) as amount, sum(net_minor)::bigint as net_minor,
    sum(tax_minor)::bigint as tax_minor, max(draw.bill_date) as bill_date
from credit_draw as draw join invoice on invoice.account = draw.account and invoice.id = draw.invoice
where draw.account = $1 and draw.invoice = any($2::uuid[])
group by draw.invoice, credit_grant, phase_grant, unit, invoice.currency
having sum(amount) <> 0 or sum(net_minor) <> 0 or sum(tax_minor) <> 0
order by 1
"""

# What bills took, on their own invoices and on those with their differences, by credit_draw_bill.
_OF_BILLS = """
select schedule, bill_date, coalesce(credit_grant::text, phase_grant) as grant, min(name) as name, unit,
    sum(amount) as amount, sum(net_minor)::bigint as net_minor, sum(tax_minor)::bigint as tax_minor
from unnest($2::uuid[], $3::date[]) as bill (schedule, bill_date) join credit_draw using (schedule, bill_date)
where account = $1
group by schedule, bill_date, credit_grant, phase_grant, unit
having sum(amount) <> 0 or sum(net_minor) <> 0 or sum(tax_minor) <> 0
"""

# What one invoice took and did not give back, apart for each bill, by credit_draw_invoice.
_TO_RETURN = """
select schedule, customer, bill_date, coalesce(credit_grant::text, phase_grant) as grant, min(name) as name, unit,
    sum(amount) as amount, sum(net_minor)::bigint as net_minor, sum(tax_minor)::bigint as tax_minor
from credit_draw
where account = $1 and invoice = $2
group by schedule, customer, bill_date, credit_grant, phase_grant, unit
having sum(amount) <> 0 or sum(net_minor) <> 0 or sum(tax_minor) <> 0
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


# What schedules took from the grants of their phases, by credit_draw_bill.
_OF_PHASES = """
select draw.id, draw.invoice, draw.phase_grant as grant, draw.name, draw.unit, invoice.currency, draw.amount,
    net_minor, tax_minor, draw.bill_date
from credit_draw as draw join invoice on invoice.account = draw.account and invoice.id = draw.invoice
where draw.account = $1 and draw.schedule = any($2::uuid[]) and draw.phase_grant is not null
order by draw.id
"""


async def of_phases(conn: Connection, account: int, *, schedules: Sequence[UUID]) -> list[StoredDraw]:
    """What was taken from the grants of these schedules' phases, oldest first."""
    return [_draw(row) for row in await conn.fetch(_OF_PHASES, account, list(schedules))]


async def of_invoices(conn: Connection, account: int, *, invoices: Sequence[UUID]) -> dict[UUID, list[StoredDraw]]:
    """What each invoice took, in the order of burning."""
    found: dict[UUID, list[StoredDraw]] = {invoice: [] for invoice in invoices}
    for row in await conn.fetch(_OF_INVOICES, account, list(invoices)):
        found[row["invoice"]].append(_draw(row))
    return found


class BillDraws(msgspec.Struct, frozen=True):
    """What one bill has taken by now, differences included, and what the grants are called."""

    draws: tuple[Draw, ...] = ()
    names: Mapping[str, str] = {}


async def of_bills(
    conn: Connection, account: int, *, bills: Sequence[tuple[UUID, date]]
) -> dict[tuple[UUID, date], BillDraws]:
    """What each (schedule, bill date) has taken by now."""
    rows: dict[tuple[UUID, date], list[asyncpg.Record]] = {bill: [] for bill in bills}
    schedules, dates = [schedule for schedule, _ in bills], [bill_date for _, bill_date in bills]
    for row in await conn.fetch(_OF_BILLS, account, schedules, dates):
        rows[row["schedule"], row["bill_date"]].append(row)
    return {
        bill: BillDraws(tuple(_rated(row) for row in some), {row["grant"]: row["name"] for row in some})
        for bill, some in rows.items()
    }


async def give_back(
    conn: Connection, account: int, *, invoice: UUID, new_id: Callable[[], UUID], now: datetime
) -> None:
    """Give everything back that an invoice took; the grants are held in this transaction."""
    back = [
        NewDraw(
            account=account,
            customer=row["customer"],
            schedule=row["schedule"],
            invoice=invoice,
            bill_date=row["bill_date"],
            name=row["name"],
            draw=_minus(_rated(row)),
        )
        for row in await conn.fetch(_TO_RETURN, account, invoice)
    ]
    await take(conn, back, new_id=new_id, now=now)


async def of_customer(conn: Connection, account: int, *, customer: UUID) -> list[StoredDraw]:
    """What was taken from a customer's own grants, oldest first."""
    return [_draw(row) for row in await conn.fetch(_OF_CUSTOMER, account, customer)]


def _draw(row: asyncpg.Record) -> StoredDraw:
    return StoredDraw(**dict(row) | {"unit": CreditUnit(row["unit"])})


def _rated(row: asyncpg.Record) -> Draw:
    return Draw(row["grant"], CreditUnit(row["unit"]), row["amount"], row["net_minor"], row["tax_minor"])


def _minus(one: Draw) -> Draw:
    return Draw(one.grant_id, one.unit, -one.amount, -one.net_minor, -one.tax_minor)


def _record(one: NewDraw, *, id_: UUID, now: datetime) -> tuple[Any, ...]:
    draw = one.draw
    # The id of a phase's grant ends with its day of issue (rating.credit.issued).
    is_of_phase = "@" in draw.grant_id
    return (
        *(one.account, id_, one.customer, one.schedule, one.invoice),
        *((None, draw.grant_id) if is_of_phase else (UUID(draw.grant_id), None)),
        *(one.name, draw.unit, draw.amount, draw.net_minor, draw.tax_minor, one.bill_date, now),
    )
