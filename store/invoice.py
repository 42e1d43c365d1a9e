"""Invoices: how they are kept, and how they are read back.

    invoice -> groups (one per product) -> lines        plus, per invoice, the charges it has billed
                                                        and what it took from credit grants (store/draw.py)

Nothing that can be derived is stored: totals are sums over lines. Saving is COPY, five tables for any number of
invoices.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from rating import explanation
from rating.invoice import Bill, BillWarning, Group, Line
from store import draw
from store.customer import Snapshot
from store.db import Connection
from store.draw import NewDraw
from store.page import Listing, Page, both_ways


class NewInvoice(msgspec.Struct, frozen=True, kw_only=True):
    """A draft as rating computed it, and whom it is for."""

    account: int
    id: UUID
    customer: UUID
    schedule: UUID
    reason: str
    bill: Bill
    snapshot: Snapshot
    # The names of the bill's products, which title its groups.
    titles: Mapping[str, str]
    particulars: dict[str, Any]


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice as it is kept, with the totals of its lines in minor units. Periods are half-open."""

    id: UUID
    customer: UUID
    schedule: UUID | None
    bill_date: date
    status: str
    currency: str
    number_prefix: str | None
    number: int | None
    period_start: date
    period_end: date
    snapshot: Snapshot
    particulars: dict[str, Any]
    is_customer_archived: bool
    net_minor: int
    tax_minor: int
    warnings: tuple[BillWarning, ...]
    calculated_at: datetime
    created_at: datetime
    updated_at: datetime


class StoredGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One product on an invoice."""

    id: UUID
    invoice: UUID
    index: int
    title: str
    currency: str
    net_minor: int
    tax_minor: int


class StoredLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `explanation` is JSON text as rating.invoice encodes it."""

    id: UUID
    invoice: UUID
    group_id: UUID
    index: int
    title: str
    description: str | None
    quantity: Decimal
    rate: Decimal
    rate_display: str
    currency: str
    net_minor: int
    tax_rate: Decimal | None
    tax_minor: int
    price: UUID | None
    product: UUID | None
    service_start: date
    service_end: date
    kind: str
    credit_grant: str | None
    explanation: msgspec.Raw


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which invoices a list shows; None means any."""

    statuses: tuple[str, ...] | None = None
    customers: tuple[UUID, ...] | None = None
    schedules: tuple[UUID, ...] | None = None
    currencies: tuple[str, ...] | None = None


async def save(conn: Connection, invoices: Sequence[NewInvoice], *, new_id: Callable[[], UUID], now: datetime) -> None:
    """Keep drafts. A UniqueViolationError says that one of them bills what a live invoice has billed already."""
    headers = [_header(invoice, now=now) for invoice in invoices]
    groups = [(invoice, group, new_id(), n) for invoice in invoices for n, group in enumerate(invoice.bill.groups)]
    lines = [row for invoice, group, group_id, _ in groups for row in _lines(invoice, group, group_id, new_id=new_id)]
    await conn.copy_records_to_table("invoice", columns=_HEADER, records=headers)
    await conn.copy_records_to_table(
        "invoice_line_group",
        columns=_GROUP,
        records=[
            (i.account, group_id, i.id, n, _title(i, group), _id(group.product_id)) for i, group, group_id, n in groups
        ],
    )
    await conn.copy_records_to_table("invoice_line", columns=_LINE, records=lines)
    charges = [row for invoice in invoices for row in _charges(invoice)]
    await conn.copy_records_to_table("invoice_charge", columns=_CHARGE, records=charges)
    await draw.take(conn, [one for invoice in invoices for one in _draws(invoice)], new_id=new_id, now=now)


_HEADER = (
    *("account", "id", "customer", "schedule", "reason", "bill_date", "status", "currency", "period_start"),
    *("period_end", "customer_snapshot", "particulars", "warnings", "calculated_at", "created_at", "updated_at"),
)
_GROUP = ("account", "id", "invoice", "index", "title", "product")
_LINE = (
    *("account", "id", "invoice", "group_id", "index", "title", "description", "quantity", "rate", "rate_display"),
    *("net_minor", "tax_rate", "tax_minor", "price", "product", "service_start", "service_end", "kind"),
    *("credit_grant", "explanation"),
)
_CHARGE = ("account", "invoice", "schedule", "price", "service_start", "service_end", "reason", "is_live")


def _header(invoice: NewInvoice, *, now: datetime) -> tuple[Any, ...]:
    bill = invoice.bill
    return (
        *(invoice.account, invoice.id, invoice.customer, invoice.schedule, invoice.reason, bill.bill_date, "DRAFT"),
        *(bill.currency, bill.period.start, bill.period.end),
        *(_json(invoice.snapshot), _json(invoice.particulars), _json(bill.warnings), now, now, now),
    )


def _title(invoice: NewInvoice, group: Group) -> str:
    """A group of a product is called after it; what concerns the whole bill brings its own title."""
    return group.title or invoice.titles[group.product_id or ""]


def _lines(
    invoice: NewInvoice, group: Group, group_id: UUID, *, new_id: Callable[[], UUID]
) -> Iterator[tuple[Any, ...]]:
    for n, line in enumerate(group.lines):
        yield (invoice.account, new_id(), invoice.id, group_id, n, *_line_values(line))


def _line_values(line: Line) -> tuple[Any, ...]:
    return (
        *(line.title, line.description, line.quantity, line.rate, line.rate_display),
        *(line.net_minor, line.tax_rate, line.tax_minor, _id(line.price_id), _id(line.product_id)),
        *(
            line.service.start,
            line.service.end,
            line.kind,
            line.grant_id,
            explanation.encode(line.explanation).decode(),
        ),
    )


def _charges(invoice: NewInvoice) -> Iterator[tuple[Any, ...]]:
    for charge in invoice.bill.charges:
        yield (
            *(invoice.account, invoice.id, invoice.schedule, UUID(charge.price.id)),
            *(charge.service.start, charge.service.end, charge.reason, True),
        )


def _draws(invoice: NewInvoice) -> Iterator[NewDraw]:
    names = {line.grant_id: line.title for line in invoice.bill.lines()}
    for taken in invoice.bill.draws:
        yield NewDraw(
            account=invoice.account,
            customer=invoice.customer,
            schedule=invoice.schedule,
            invoice=invoice.id,
            bill_date=invoice.bill.bill_date,
            name=names[taken.grant_id],
            draw=taken,
        )


def _id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# One invoice with its totals; invoice by primary key, its lines by (account, invoice, group_id, index).
_GET = """
select invoice.id, invoice.customer, invoice.schedule, invoice.bill_date, invoice.status, invoice.currency,
    invoice.number_prefix, invoice.number, invoice.period_start, invoice.period_end, invoice.customer_snapshot,
    invoice.particulars, customer.archived_at is not null as is_customer_archived, total.net_minor, total.tax_minor,
    invoice.warnings, invoice.calculated_at, invoice.created_at, invoice.updated_at
from invoice
join customer on customer.account = invoice.account and customer.id = invoice.customer
cross join lateral (
    select coalesce(sum(net_minor), 0)::bigint as net_minor, coalesce(sum(tax_minor), 0)::bigint as tax_minor
    from invoice_line where invoice_line.account = invoice.account and invoice_line.invoice = invoice.id
) total
where invoice.account = $1 and invoice.id = $2
"""


async def get(conn: Connection, account: int, invoice: UUID) -> Invoice | None:
    """One invoice, or None if this account has none of that id."""
    row = await conn.fetchrow(_GET, account, invoice)
    return _invoice(row) if row else None


# A page of invoices in order of creation: the page is cut first, by the primary key, then its totals are summed.
_LIST = both_ways("""
with page as (
    select * from invoice
    where account = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or id < $3)
        and ($4::text[] is null or status = any($4)) and ($5::uuid[] is null or customer = any($5))
        and ($6::uuid[] is null or schedule = any($6)) and ($7::text[] is null or currency = any($7))
    order by id <direction>
    limit $8
)
select page.id, page.customer, page.schedule, page.bill_date, page.status, page.currency,
    page.number_prefix, page.number, page.period_start, page.period_end, page.customer_snapshot,
    page.particulars, customer.archived_at is not null as is_customer_archived, total.net_minor, total.tax_minor,
    page.warnings, page.calculated_at, page.created_at, page.updated_at
from page
join customer on customer.account = page.account and customer.id = page.customer
cross join lateral (
    select coalesce(sum(net_minor), 0)::bigint as net_minor, coalesce(sum(tax_minor), 0)::bigint as tax_minor
    from invoice_line where invoice_line.account = page.account and invoice_line.invoice = page.id
) total
order by page.id <direction>
""")

# How many invoices the filter finds, for totalResultSize.
_COUNT = """
select count(*) from invoice
where account = $1 and ($2::text[] is null or status = any($2)) and ($3::uuid[] is null or customer = any($3))
    and ($4::uuid[] is null or schedule = any($4)) and ($5::text[] is null or currency = any($5))
"""


async def listing(conn: Connection, account: int, *, page: Page, only: Filter) -> Listing[Invoice]:
    """A page of invoices in order of creation."""
    wanted = (only.statuses, only.customers, only.schedules, only.currencies)
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, *wanted, page.fetch_limit)
    total = await conn.fetchval(_COUNT, account, *wanted)
    return page.cut([_invoice(row) for row in rows], total=total)


def _invoice(row: Any) -> Invoice:
    fields = dict(row)
    snapshot = msgspec.json.decode(fields.pop("customer_snapshot"), type=Snapshot)
    decoded = {
        "snapshot": snapshot,
        "particulars": msgspec.json.decode(fields["particulars"]),
        "warnings": msgspec.json.decode(fields["warnings"], type=tuple[BillWarning, ...]),
    }
    return Invoice(**fields | decoded)


# A page of an invoice's groups, in the order in which they stand on it (ids are made in that order).
_GROUPS = both_ways("""
select g.id, g.invoice, g.index, g.title, invoice.currency,
    coalesce(sum(l.net_minor), 0)::bigint as net_minor, coalesce(sum(l.tax_minor), 0)::bigint as tax_minor
from invoice_line_group g
join invoice on invoice.account = g.account and invoice.id = g.invoice
left join invoice_line l on l.account = g.account and l.invoice = g.invoice and l.group_id = g.id
where g.account = $1 and g.invoice = $2 and ($3::uuid is null or g.id > $3) and ($4::uuid is null or g.id < $4)
group by g.account, g.id, invoice.currency
order by g.id <direction>
limit $5
""")
_COUNT_GROUPS = "select count(*) from invoice_line_group where account = $1 and invoice = $2"


async def groups(conn: Connection, account: int, invoice: UUID, *, page: Page) -> Listing[StoredGroup]:
    """A page of an invoice's groups."""
    rows = await conn.fetch(_GROUPS[page.reads_down], account, invoice, page.above, page.below, page.fetch_limit)
    total = await conn.fetchval(_COUNT_GROUPS, account, invoice)
    return page.cut([StoredGroup(**dict(row)) for row in rows], total=total)


# A page of an invoice's lines, in the order in which they stand on it (ids are made in that order).
_LINES = both_ways("""
select l.id, l.invoice, l.group_id, l.index, l.title, l.description, l.quantity, l.rate, l.rate_display,
    invoice.currency, l.net_minor, l.tax_rate, l.tax_minor, l.price, l.product, l.service_start, l.service_end,
    l.kind, l.credit_grant, l.explanation
from invoice_line l
join invoice on invoice.account = l.account and invoice.id = l.invoice
where l.account = $1 and l.invoice = $2 and ($3::uuid is null or l.id > $3) and ($4::uuid is null or l.id < $4)
order by l.id <direction>
limit $5
""")
_COUNT_LINES = "select count(*) from invoice_line where account = $1 and invoice = $2"


async def lines(conn: Connection, account: int, invoice: UUID, *, page: Page) -> Listing[StoredLine]:
    """A page of an invoice's lines."""
    rows = await conn.fetch(_LINES[page.reads_down], account, invoice, page.above, page.below, page.fetch_limit)
    total = await conn.fetchval(_COUNT_LINES, account, invoice)
    return page.cut([_line(row) for row in rows], total=total)


def _line(row: Any) -> StoredLine:
    return StoredLine(**dict(row) | {"explanation": msgspec.Raw(row["explanation"].encode())})
