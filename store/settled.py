"""Bills that were made: which ones to look at again when usage arrives late, and what was billed by now.

Late usage is rated with what its bill was made of: the terms, the versions of metrics, the tax rates. The invoice says
which those were, and has a digest of all that was measured; another digest today means that something has changed.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import msgspec

from rating.invoice import Bill, Draw, Group, Line
from rating.period import Period
from rating.tax import TaxStatus
from store import draw, line
from store.customer import Snapshot
from store.db import Connection


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A bill of a schedule that measured something. `metrics`: the versions by metric id. `members`: whose usage a
    roll-up billed.
    """

    account: int
    invoice: UUID
    schedule: UUID
    bill_date: date
    is_draft: bool
    currency: str
    period: Period
    schedule_version: int
    metrics: Mapping[str, int]
    measured: int
    members: tuple[UUID, ...] | None
    tax_status: TaxStatus
    particulars: Mapping[str, Any]


class Billed(msgspec.Struct, frozen=True):
    """What was billed for one bill by now, differences included, and what the grants are called."""

    bill: Bill
    names: Mapping[str, str]


# The live bills of schedules that measured something, from each schedule's date on, and always its last; by
# invoice_once. The oldest come first.
_SINCE = """
select invoice.account, invoice.id as invoice, invoice.schedule, invoice.bill_date,
    invoice.status = 'DRAFT' as is_draft, invoice.currency, invoice.period_start, invoice.period_end,
    invoice.schedule_version, invoice.metrics, invoice.measured, invoice.members,
    invoice.customer_snapshot, invoice.particulars
from unnest($1::integer[], $2::uuid[], $3::date[]) as wanted (account, schedule, since)
cross join lateral (
    select * from invoice
    where invoice.account = wanted.account and invoice.schedule = wanted.schedule and invoice.status <> 'VOIDED'
        and invoice.reason = 'SCHEDULE' and invoice.measured is not null
    order by bill_date desc
    limit $4
) invoice
where invoice.bill_date >= wanted.since or invoice.bill_date = (
    select max(bill_date) from invoice as last
    where last.account = wanted.account and last.schedule = wanted.schedule and last.status <> 'VOIDED'
        and last.reason = 'SCHEDULE' and last.measured is not null)
order by invoice.schedule, invoice.bill_date
"""


async def since(
    conn: Connection, wanted: Sequence[tuple[int, UUID, date]], *, limit: int
) -> dict[tuple[int, UUID], list[Settled]]:
    """The bills of each (account, schedule) from a date on, at most the `limit` last ones."""
    columns = [list(column) for column in zip(*wanted, strict=True)] or [[], [], []]
    found: dict[tuple[int, UUID], list[Settled]] = {}
    for row in await conn.fetch(_SINCE, *columns, limit):
        found.setdefault((row["account"], row["schedule"]), []).append(_settled(row))
    return found


# The invoices on which lines of these bills stand: their own, by the primary key, and later ones of the schedule, by
# invoice_once.
_INVOICES = """
select id, bill_date from invoice
where account = $1 and schedule = $2 and status <> 'VOIDED' and bill_date >= $3
order by bill_date, id
"""


async def billed(conn: Connection, of: Settled) -> Billed:
    """What was billed for the bill by now: its own lines, and the differences on later invoices. Rarely asked."""
    invoices = [row["id"] for row in await conn.fetch(_INVOICES, of.account, of.schedule, of.bill_date)]
    found = await line.billed(conn, of.account, invoices=invoices)
    lines = tuple(one.line for one in found if _is_of(one, of))
    key = of.schedule, of.bill_date
    draws = (await draw.of_bills(conn, of.account, bills=[key]))[key]
    return Billed(_bill(of, lines, draws.draws), draws.names)


def _is_of(one: line.BilledLine, of: Settled) -> bool:
    return one.corrects == of.bill_date or (one.invoice == of.invoice and one.corrects is None)


def _bill(of: Settled, lines: tuple[Line, ...], draws: tuple[Draw, ...]) -> Bill:
    """The bill as `rating.difference` reads it: the order of lines and groups does not matter any more."""
    return Bill(of.currency, of.bill_date, of.period, (Group(None, lines, "Billed"),), (), draws)


def _settled(row: Any) -> Settled:
    snapshot = msgspec.json.decode(row["customer_snapshot"], type=Snapshot)
    return Settled(
        account=row["account"],
        invoice=row["invoice"],
        schedule=row["schedule"],
        bill_date=row["bill_date"],
        is_draft=row["is_draft"],
        currency=row["currency"],
        period=Period(row["period_start"], row["period_end"]),
        schedule_version=row["schedule_version"],
        metrics=msgspec.json.decode(row["metrics"], type=dict[str, int]),
        measured=row["measured"],
        members=None if row["members"] is None else tuple(row["members"]),
        tax_status=TaxStatus(snapshot.tax_status),
        particulars=msgspec.json.decode(row["particulars"]),
    )
