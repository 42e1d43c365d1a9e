"""/invoices/{id}/line-items and /line-item-groups: what stands on an invoice.

Fields and paths are the reference's (spec section 18, schemas LineItemGroupResponseModel,
Stable20240101LineItemResponse). `explanation` on a line is ours: the arithmetic behind its amount, as data.
"""

from datetime import timedelta
from typing import Any, Literal

from aiohttp import web

from api import error, page, wire
from rating import money, number
from store import invoice, line
from store.invoice import Invoice
from store.line import StoredGroup, StoredLine


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/invoices/{invoice}/line-items", _lines),
        web.get("/invoices/{invoice}/line-item-groups", _groups),
    ]


def totals(item: Invoice | StoredGroup | StoredLine) -> dict[str, str]:
    """Sums of lines, before tax, of tax, and both."""
    return {
        "netTotal": money.format_minor(item.net_minor, item.currency),
        "totalTax": money.format_minor(item.tax_minor, item.currency),
        "grossTotal": money.format_minor(item.net_minor + item.tax_minor, item.currency),
    }


class _PartsQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Lines and groups are read in the order in which they stand on the invoice, unless asked otherwise."""

    sort_order: Literal["ASC", "DESC"] = "ASC"


async def _lines(request: web.Request) -> web.Response:
    account, wanted = wire.principal(request).account, wire.path_id(request, "invoice")
    query = wire.read_query(request, _PartsQuery)
    async with wire.connection(request) as conn:
        found = await line.lines(conn, account, wanted, page=query.page())
        if found.total == 0 and await invoice.get(conn, account, wanted) is None:
            raise error.NotFound(f"There is no invoice {wanted} in this account.", key="invoice")
    return page.reply(found, _show_line)


async def _groups(request: web.Request) -> web.Response:
    account, wanted = wire.principal(request).account, wire.path_id(request, "invoice")
    query = wire.read_query(request, _PartsQuery)
    async with wire.connection(request) as conn:
        found = await line.groups(conn, account, wanted, page=query.page())
        if found.total == 0 and await invoice.get(conn, account, wanted) is None:
            raise error.NotFound(f"There is no invoice {wanted} in this account.", key="invoice")
    return page.reply(found, _show_group)


def _show_line(found: StoredLine) -> dict[str, Any]:
    return {
        "id": found.id,
        "invoiceId": found.invoice,
        "groupId": found.group_id,
        "index": found.index,
        "title": found.title,
        "description": found.description,
        "quantity": number.plain(found.quantity),
        "rate": number.plain(found.rate),
        "rateDisplay": found.rate_display,
        "taxRate": number.plain(found.tax_rate) if found.tax_rate is not None else "0",
        **totals(found),
        "servicePeriod": {"startDate": found.service_start, "endDate": found.service_end - timedelta(days=1)},
        "priceId": found.price,
        "productId": found.product,
        "externalIds": [],
        "creditGrantId": found.credit_grant,
        # Ours: what the line is, and the arithmetic behind its amount.
        "kind": found.kind,
        "explanation": found.explanation,
    }


def _show_group(group: StoredGroup) -> dict[str, Any]:
    return {
        "id": group.id,
        "invoiceId": group.invoice,
        "index": group.index,
        "title": group.title,
        "description": None,
        "taxCategory": None,
        **totals(group),
    }
