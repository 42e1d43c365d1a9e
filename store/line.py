"""Lines of invoices and the groups they stand in: how they are read back, for people and for making a bill again."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from rating import explanation
from rating.invoice import Line, LineKind
from rating.part import RateDisplay
from rating.period import Period
from store.db import Connection
from store.page import Listing, Page, both_ways


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


# The lines of invoices that count for some bill, by the unique key on their place. Serves differences.
_BILLED = """
select invoice, title, description, quantity, rate, rate_display, net_minor, tax_rate, tax_minor, price, product,
    service_start, service_end, kind, credit_grant, explanation, corrects
from invoice_line
where account = $1 and invoice = any($2::uuid[])
order by invoice, group_id, index
"""


class BilledLine(msgspec.Struct, frozen=True):
    """A line as rating made it. `corrects`: the date of an earlier bill whose difference it is."""

    invoice: UUID
    line: Line
    corrects: date | None


async def billed(conn: Connection, account: int, *, invoices: Sequence[UUID]) -> list[BilledLine]:
    """The lines of these invoices, each invoice's in their order."""
    rows = await conn.fetch(_BILLED, account, list(invoices))
    return [BilledLine(row["invoice"], _rated(row), row["corrects"]) for row in rows]


def _rated(row: Any) -> Line:
    return Line(
        price_id=None if row["price"] is None else str(row["price"]),
        product_id=None if row["product"] is None else str(row["product"]),
        title=row["title"],
        description=row["description"],
        quantity=row["quantity"],
        rate=row["rate"],
        rate_display=RateDisplay(row["rate_display"]),
        net_minor=row["net_minor"],
        service=Period(row["service_start"], row["service_end"]),
        explanation=explanation.decode(row["explanation"]),
        kind=LineKind(row["kind"]),
        tax_rate=row["tax_rate"],
        tax_minor=row["tax_minor"],
        grant_id=row["credit_grant"],
    )
