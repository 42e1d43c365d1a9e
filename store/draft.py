"""Drafts: how a bill becomes an invoice that is kept, and how a draft is replaced by the same bill made again.

    invoice -> groups (one per product) -> lines        plus, per invoice, the charges it has billed
                                                        and what it took from credit grants (store/draw.py)

Differences of earlier bills stand on the invoice as lines that name the bill date they correct. Saving is COPY, five
tables for any number of invoices.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec

from rating import difference, explanation
from rating.invoice import Bill, BillWarning, Draw, Group, Line
from store import draw, line
from store.customer import Snapshot
from store.db import Connection
from store.draw import NewDraw

LATE_USAGE_TITLE = "Late usage"


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """The difference of an earlier bill: its lines, and what they take from grants, with the grants' names."""

    bill_date: date
    lines: tuple[Line, ...]
    draws: tuple[Draw, ...] = ()
    names: Mapping[str, str] = {}


class NewInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """A draft as rating computed it, and whom it is for."""

    account: int
    id: UUID
    customer: UUID
    schedule: UUID | None
    reason: str
    bill: Bill
    snapshot: Snapshot
    # The names of the bill's products, which title its groups.
    titles: Mapping[str, str]
    particulars: dict[str, Any]
    corrections: tuple[Correction, ...] = ()
    # What the bill was made of, so that it can be made again: terms, versions of metrics, a digest of the rest.
    schedule_version: int | None = None
    metrics: Mapping[str, int] = {}
    measured: int | None = None
    # Of a roll-up: whose usage it bills.
    members: tuple[UUID, ...] | None = None


async def save(conn: Connection, invoices: Sequence[NewInvoice], *, new_id: Callable[[], UUID], now: datetime) -> None:
    """Keep drafts. A UniqueViolationError says that one of them bills what a live invoice has billed already."""
    headers = [_header(invoice, now=now) for invoice in invoices]
    await conn.copy_records_to_table("invoice", columns=_HEADER, records=headers)
    await _save_lines(conn, invoices, new_id=new_id)
    draws = [one for invoice in invoices for one in (*_draws(invoice), *_correcting_draws(invoice))]
    await draw.take(conn, draws, new_id=new_id, now=now)


# Replaces what a draft says, unless it is no draft any more; by the primary key.
_REPLACE = """
update invoice set period_start = $3, period_end = $4, customer_snapshot = $5, warnings = $6, schedule_version = $7,
    metrics = $8, measured = $9, members = $10, calculated_at = $11, updated_at = $11
where account = $1 and id = $2 and status = 'DRAFT'
"""

# Makes room for the lines and charges of the bill made again, by the unique key on place and by the primary key.
_DROP_GROUPS = "delete from invoice_line_group where account = $1 and invoice = $2"
_DROP_CHARGES = "delete from invoice_charge where account = $1 and invoice = $2"


async def replace(conn: Connection, invoice: NewInvoice, *, new_id: Callable[[], UUID], now: datetime) -> bool:
    """Put a bill made again in the place of a draft; False: it is no draft any more, and nothing has changed.

    Differences of earlier bills that stand on it stay. The grants are held in this transaction: what the draft had
    taken goes back, and what it takes now is taken.
    """
    bill = invoice.bill
    found = await conn.execute(
        *(_REPLACE, invoice.account, invoice.id, bill.period.start, bill.period.end, _json(invoice.snapshot)),
        *(_json(bill.warnings), invoice.schedule_version, _metrics(invoice), invoice.measured, invoice.members, now),
    )
    if found == "UPDATE 0":
        return False
    kept = await line.billed(conn, invoice.account, invoices=[invoice.id])
    invoice = msgspec.structs.replace(invoice, corrections=_corrections(kept))
    await conn.execute(_DROP_GROUPS, invoice.account, invoice.id)
    await conn.execute(_DROP_CHARGES, invoice.account, invoice.id)
    await _save_lines(conn, [invoice], new_id=new_id)
    key = _schedule(invoice), bill.bill_date
    before = (await draw.of_bills(conn, invoice.account, bills=[key]))[key]
    taken = difference.draws(before.draws, bill.draws)
    names = {**before.names, **draw_names(bill)}
    await draw.take(conn, _new_draws(invoice, taken, names=names, on=bill.bill_date), new_id=new_id, now=now)
    return True


def draw_names(bill: Bill) -> dict[str, str]:
    """What the grants that a bill draws on are called: the titles of the lines they pay with."""
    return {one.grant_id: one.title for one in bill.lines() if one.grant_id is not None}


async def _save_lines(conn: Connection, invoices: Sequence[NewInvoice], *, new_id: Callable[[], UUID]) -> None:
    groups = [(invoice, group, new_id(), n) for invoice in invoices for n, group in enumerate(invoice.bill.groups)]
    lines = [row for invoice, group, group_id, _ in groups for row in _lines(invoice, group, group_id, new_id=new_id)]
    rows = [(i.account, id_, i.id, n, _title(i, group), _id(group.product_id)) for i, group, id_, n in groups]
    for invoice in invoices:
        if invoice.corrections:
            late_id = new_id()
            rows.append((invoice.account, late_id, invoice.id, len(invoice.bill.groups), LATE_USAGE_TITLE, None))
            lines += _correcting_lines(invoice, late_id, new_id=new_id)
    await conn.copy_records_to_table("invoice_line_group", columns=_GROUP, records=rows)
    await conn.copy_records_to_table("invoice_line", columns=_LINE, records=lines)
    charges = [row for invoice in invoices for row in _charges(invoice)]
    await conn.copy_records_to_table("invoice_charge", columns=_CHARGE, records=charges)


_HEADER = (
    *("account", "id", "customer", "schedule", "reason", "bill_date", "status", "currency", "period_start"),
    *("period_end", "customer_snapshot", "particulars", "warnings", "schedule_version", "metrics", "measured"),
    *("members", "calculated_at", "created_at", "updated_at"),
)
_GROUP = ("account", "id", "invoice", "index", "title", "product")
_LINE = (
    *("account", "id", "invoice", "group_id", "index", "title", "description", "quantity", "rate", "rate_display"),
    *("net_minor", "tax_rate", "tax_minor", "price", "product", "service_start", "service_end", "kind"),
    *("credit_grant", "explanation", "corrects"),
)
_CHARGE = ("account", "invoice", "schedule", "price", "service_start", "service_end", "reason", "is_live")


def _header(invoice: NewInvoice, *, now: datetime) -> tuple[Any, ...]:
    bill = invoice.bill
    return (
        *(invoice.account, invoice.id, invoice.customer, invoice.schedule, invoice.reason, bill.bill_date, "DRAFT"),
        *(bill.currency, bill.period.start, bill.period.end),
        *(_json(invoice.snapshot), _json(invoice.particulars), _json(bill.warnings)),
        *(invoice.schedule_version, _metrics(invoice), invoice.measured, invoice.members, now, now, now),
    )


def _title(invoice: NewInvoice, group: Group) -> str:
    """A group of a product is called after it; what concerns the whole bill brings its own title."""
    return group.title or invoice.titles[group.product_id or ""]


def _lines(
    invoice: NewInvoice, group: Group, group_id: UUID, *, new_id: Callable[[], UUID]
) -> Iterator[tuple[Any, ...]]:
    for n, one in enumerate(group.lines):
        yield (invoice.account, new_id(), invoice.id, group_id, n, *_line_values(one), None)


def _correcting_lines(invoice: NewInvoice, group_id: UUID, *, new_id: Callable[[], UUID]) -> Iterator[tuple[Any, ...]]:
    """All differences stand in one group, the oldest bill's first."""
    corrects = [(one, of.bill_date) for of in invoice.corrections for one in of.lines]
    for n, (one, bill_date) in enumerate(corrects):
        yield (invoice.account, new_id(), invoice.id, group_id, n, *_line_values(one), bill_date)


def _line_values(line: Line) -> tuple[Any, ...]:
    return (
        *(line.title, line.description, line.quantity, line.rate, line.rate_display),
        *(line.net_minor, line.tax_rate, line.tax_minor, _id(line.price_id), _id(line.product_id)),
        *(line.service.start, line.service.end, line.kind, line.grant_id),
        explanation.encode(line.explanation).decode(),
    )


def _charges(invoice: NewInvoice) -> Iterator[tuple[Any, ...]]:
    for charge in invoice.bill.charges:
        yield (
            *(invoice.account, invoice.id, invoice.schedule, UUID(charge.price.id)),
            *(charge.service.start, charge.service.end, charge.reason, True),
        )


def _draws(invoice: NewInvoice) -> Iterator[NewDraw]:
    if invoice.bill.draws:
        names = draw_names(invoice.bill)
        yield from _new_draws(invoice, invoice.bill.draws, names=names, on=invoice.bill.bill_date)


def _correcting_draws(invoice: NewInvoice) -> Iterator[NewDraw]:
    """They count for the bill that is corrected, so that making it again finds them."""
    for of in invoice.corrections:
        yield from _new_draws(invoice, of.draws, names=of.names, on=of.bill_date)


def _new_draws(invoice: NewInvoice, draws: Iterable[Draw], *, names: Mapping[str, str], on: date) -> Iterator[NewDraw]:
    for taken in draws:
        yield NewDraw(
            account=invoice.account,
            customer=invoice.customer,
            schedule=_schedule(invoice),
            invoice=invoice.id,
            bill_date=on,
            name=names[taken.grant_id],
            draw=taken,
        )


def _metrics(invoice: NewInvoice) -> str | None:
    return None if invoice.measured is None else _json(invoice.metrics)


def _schedule(invoice: NewInvoice) -> UUID:
    if invoice.schedule is None:
        raise AssertionError("only bills of schedules draw on grants")
    return invoice.schedule


def _corrections(lines: Sequence[line.BilledLine]) -> tuple[Correction, ...]:
    """The differences among these lines, by the bill they correct; their draws stay as they are."""
    found: dict[date, list[Line]] = {}
    for one in lines:
        if one.corrects is not None:
            found.setdefault(one.corrects, []).append(one.line)
    return tuple(Correction(bill_date=on, lines=tuple(some)) for on, some in found.items())


def _id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _json(value: Snapshot | Mapping[str, Any] | tuple[BillWarning, ...]) -> str:
    return msgspec.json.encode(value).decode()
