"""GET /invoices, /invoices/{id}, and their line items and groups. Making invoices is the invoicer's work.

Fields and paths are the reference's (spec sections 17 and 18, schemas InvoiceResponse, LineItemGroupResponseModel,
Stable20240101LineItemResponse). `explanation` on a line is ours: the arithmetic behind its amount, as data.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Literal
from uuid import UUID

from aiohttp import web

from api import error, page, wire
from rating import money, number
from store import draw, invoice
from store.draw import StoredDraw
from store.invoice import Filter, Invoice, StoredGroup, StoredLine

# The reference's default payment term: Net 30, in calendar days.
PAYMENT_TERM_DAYS = 30
STATUSES = frozenset({"IN_PROGRESS", "DRAFT", "FINAL", "SENT", "VOIDED"})


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/invoices", _list),
        web.get("/invoices/{id}", _get),
        web.get("/invoices/{invoice}/line-items", _lines),
        web.get("/invoices/{invoice}/line-item-groups", _groups),
    ]


class _InvoiceQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Filters take several values, separated by commas."""

    invoice_status: str | None = None
    customer_id: str | None = None
    billing_schedule_id: str | None = None
    invoice_currency: str | None = None

    def only(self) -> Filter:
        return Filter(
            statuses=_statuses(self.invoice_status),
            customers=_ids(self.customer_id, key="customerId"),
            schedules=_ids(self.billing_schedule_id, key="billingScheduleId"),
            currencies=tuple(self.invoice_currency.split(",")) if self.invoice_currency else None,
        )


class _PartsQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Lines and groups are read in the order in which they stand on the invoice, unless asked otherwise."""

    sort_order: Literal["ASC", "DESC"] = "ASC"


async def _list(request: web.Request) -> web.Response:
    who = wire.principal(request)
    query = wire.read_query(request, _InvoiceQuery)
    async with wire.connection(request) as conn:
        found = await invoice.listing(conn, who.account, page=query.page(), only=query.only())
        draws = await draw.of_invoices(conn, who.account, invoices=[item.id for item in found.items])
    return page.reply(found, lambda item: _show(item, who.account_id, draws[item.id]))


async def _get(request: web.Request) -> web.Response:
    who = wire.principal(request)
    wanted = wire.path_id(request)
    async with wire.connection(request) as conn:
        found = await invoice.get(conn, who.account, wanted)
        draws = await draw.of_invoices(conn, who.account, invoices=[wanted])
    if found is None:
        raise error.NotFound(f"There is no invoice {wanted} in this account.", key="id")
    return wire.reply(_show(found, who.account_id, draws[wanted]))


async def _lines(request: web.Request) -> web.Response:
    account, wanted = wire.principal(request).account, wire.path_id(request, "invoice")
    query = wire.read_query(request, _PartsQuery)
    async with wire.connection(request) as conn:
        found = await invoice.lines(conn, account, wanted, page=query.page())
        if found.total == 0 and await invoice.get(conn, account, wanted) is None:
            raise error.NotFound(f"There is no invoice {wanted} in this account.", key="invoice")
    return page.reply(found, _show_line)


async def _groups(request: web.Request) -> web.Response:
    account, wanted = wire.principal(request).account, wire.path_id(request, "invoice")
    query = wire.read_query(request, _PartsQuery)
    async with wire.connection(request) as conn:
        found = await invoice.groups(conn, account, wanted, page=query.page())
        if found.total == 0 and await invoice.get(conn, account, wanted) is None:
            raise error.NotFound(f"There is no invoice {wanted} in this account.", key="invoice")
    return page.reply(found, _show_group)


def _show(item: Invoice, account_id: UUID, draws: Sequence[StoredDraw]) -> dict[str, Any]:
    """An invoice as the reference shows it; what no issue has built yet is empty or null, never invented."""
    return {
        "id": item.id,
        "sequenceAccountId": account_id,
        "billingScheduleId": item.schedule,
        "status": item.status,
        "currency": item.currency,
        "invoiceNumber": f"{item.number_prefix}{item.number}" if item.number else None,
        "accountingDate": item.bill_date,
        "billingPeriod": {"start": item.period_start, "endInclusive": _inclusive(item.period_end)},
        "calculatedAt": item.calculated_at,
        "createdAt": item.created_at,
        "updatedAt": item.updated_at,
        **_totals(item),
        **_customer(item),
        **_terms(item),
        **_credits(item, draws),
        **_nothing_yet(),
        # Not in the reference: what a person must look at before the invoice is issued.
        "warnings": [{"code": one.code, "message": one.message, "priceId": one.price_id} for one in item.warnings],
    }


def _credits(item: Invoice, draws: Sequence[StoredDraw]) -> dict[str, Any]:
    """What grants pay: projected while the invoice is a draft, applied once it is not."""
    is_draft = item.status == "DRAFT"
    shown = [_show_draw(one, is_draft=is_draft) for one in draws]
    return {
        "appliedCreditGrants": [] if is_draft else shown,
        "projectedCreditGrants": shown if is_draft else [],
    }


def _show_draw(of: StoredDraw, *, is_draft: bool) -> dict[str, Any]:
    shown = {
        "creditGrantId": of.grant,
        "creditGrantName": of.name,
        "amount": money.format_minor(of.net_minor, of.currency),
    }
    applied = {"taxAmount": money.format_minor(of.tax_minor, of.currency), "status": "APPLIED"}
    return shown if is_draft else shown | applied


def _totals(item: Invoice | StoredGroup | StoredLine) -> dict[str, str]:
    return {
        "netTotal": money.format_minor(item.net_minor, item.currency),
        "totalTax": money.format_minor(item.tax_minor, item.currency),
        "grossTotal": money.format_minor(item.net_minor + item.tax_minor, item.currency),
    }


def _customer(item: Invoice) -> dict[str, Any]:
    """The customer as it was when the invoice was made."""
    return {
        "customerId": item.customer,
        "customerLegalCompanyName": item.snapshot.legal_name,
        "customerEmails": item.snapshot.emails,
        "customerBillingAddress": item.snapshot.address,
        "customerShippingAddress": item.snapshot.address,
        "customerTaxStatus": item.snapshot.tax_status,
        "isCustomerArchived": item.is_customer_archived,
    }


def _terms(item: Invoice) -> dict[str, Any]:
    days = item.particulars.get("defaultDueDateDays") or PAYMENT_TERM_DAYS
    return {
        "paymentTermDays": days,
        "dueDate": item.bill_date + timedelta(days=days),
        "dueDateSource": "CALCULATED",
        "purchaseOrderNumber": item.particulars.get("purchaseOrderNumber"),
        "reference": item.particulars.get("reference"),
        "memo": item.particulars.get("memo"),
    }


def _nothing_yet() -> dict[str, Any]:
    """Fields the reference requires, for things that cannot have happened to an invoice yet."""
    return {
        "issueDate": None,
        "paymentStatus": "UNPAID",
        "metadata": [],
        "creditNoteIds": [],
        "linkedServices": [],
        "renderSettings": {"paymentLinkDisplay": "HIDE_PAYMENT_LINK"},
        "integrationPaymentStatuses": {},
        "appliedCreditNotes": [],
        "paymentAllocations": [],
    }


def _show_line(line: StoredLine) -> dict[str, Any]:
    return {
        "id": line.id,
        "invoiceId": line.invoice,
        "groupId": line.group_id,
        "index": line.index,
        "title": line.title,
        "description": line.description,
        "quantity": number.plain(line.quantity),
        "rate": number.plain(line.rate),
        "rateDisplay": line.rate_display,
        "taxRate": number.plain(line.tax_rate) if line.tax_rate is not None else "0",
        **_totals(line),
        "servicePeriod": {"startDate": line.service_start, "endDate": _inclusive(line.service_end)},
        "priceId": line.price,
        "productId": line.product,
        "externalIds": [],
        "creditGrantId": line.credit_grant,
        # Ours: what the line is, and the arithmetic behind its amount.
        "kind": line.kind,
        "explanation": line.explanation,
    }


def _show_group(group: StoredGroup) -> dict[str, Any]:
    return {
        "id": group.id,
        "invoiceId": group.invoice,
        "index": group.index,
        "title": group.title,
        "description": None,
        "taxCategory": None,
        **_totals(group),
    }


def _inclusive(end: date) -> date:
    return end - timedelta(days=1)


def _statuses(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    found = tuple(text.split(","))
    for status in found:
        if status not in STATUSES:
            known = ", ".join(sorted(STATUSES))
            raise error.InvalidValue(f"`{status}` is not an invoice status. Send some of {known}.", key="invoiceStatus")
    return found


def _ids(text: str | None, *, key: str) -> tuple[UUID, ...] | None:
    if text is None:
        return None
    try:
        return tuple(UUID(part) for part in text.split(","))
    except ValueError as exc:
        raise error.InvalidValue(f"`{key}` must be ids (UUIDs), separated by commas.", key=key) from exc
