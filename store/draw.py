"""Draws: what invoices took from credit grants.

    credit_draw    append-only; what is given back is a row with a minus

A draw names a stand-alone grant (store/credit.py) or a grant of a phase: its terms' id and its day of issue, as in
`rating.credit.issued`.
"""

from collections.abc import Callable, Iterable, Sequence
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


async def of_customer(conn: Connection, account: int, *, customer: UUID) -> list[StoredDraw]:
    """What was taken from a customer's own grants, oldest first."""
    return [_draw(row) for row in await conn.fetch(_OF_CUSTOMER, account, customer)]


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
