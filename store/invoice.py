"""Invoices: how they are read back.

How they are made is in store/draft.py, how they are finalized and voided in store/issue.py, what is on them in
store/line.py. Nothing that can be derived is stored: totals are sums over lines.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec

from rating.invoice import BillWarning
from store.customer import Snapshot
from store.db import Connection
from store.page import Listing, Page, both_ways


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice as it is kept, with the totals of its lines in minor units. Periods are half-open."""

    id: UUID
    customer: UUID
    schedule: UUID | None
    reason: str
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


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which invoices a list shows; None means any."""

    statuses: tuple[str, ...] | None = None
    customers: tuple[UUID, ...] | None = None
    schedules: tuple[UUID, ...] | None = None
    currencies: tuple[str, ...] | None = None


# One invoice with its totals; invoice by primary key, its lines by (account, invoice, group_id, index).
_GET = """
select invoice.id, invoice.customer, invoice.schedule, invoice.reason, invoice.bill_date, invoice.status,
    invoice.currency,
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
select page.id, page.customer, page.schedule, page.reason, page.bill_date, page.status, page.currency,
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
