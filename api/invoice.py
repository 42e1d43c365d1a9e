"""/invoices: reading them, and what happens to one: calculated again, finalized, voided. Making them is the invoicer's.

Fields and paths are the reference's (spec section 17, schema InvoiceResponse). What stands on them is in api/line.py.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from aiohttp import web
from uuid_utils.compat import uuid7

from api import error, line, page, wire
from rating import money
from store import draw, invoice, issue
from store.account import Principal
from store.db import Connection
from store.draw import StoredDraw
from store.invoice import Filter, Invoice

# The reference's default payment term: Net 30, in calendar days.
PAYMENT_TERM_DAYS = 30
STATUSES = frozenset({"IN_PROGRESS", "DRAFT", "FINAL", "SENT", "VOIDED"})


# Calculates a draft again; the composition root hands over the invoicer's.
Recalculate: TypeAlias = Callable[[int, UUID, datetime], Awaitable[None]]


def routes(recalculate: Recalculate) -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/invoices", _list),
        web.get("/invoices/{id}", _get),
        web.post("/invoices/{id}/draft", partial(_draft, recalculate)),
        web.post("/invoices/{id}/finalize", _finalize),
        web.post("/invoices/{id}/void", _void),
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
        return wire.reply(await _shown(conn, who, wanted))


async def _draft(recalculate: Recalculate, request: web.Request) -> web.Response:
    """A draft calculated again, with the usage and the terms of now."""
    who, wanted = wire.principal(request), wire.path_id(request)
    await recalculate(who.account, wanted, wire.now(request))
    async with wire.connection(request) as conn:
        return wire.reply(await _shown(conn, who, wanted))


async def _finalize(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        await issue.finalize(conn, who.account, invoice=wanted, now=wire.now(request))
        return wire.reply(await _shown(conn, who, wanted))


async def _void(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        await issue.void(conn, who.account, invoice=wanted, new_id=uuid7, now=wire.now(request))
        return wire.reply(await _shown(conn, who, wanted))


async def _shown(conn: Connection, who: Principal, wanted: UUID) -> dict[str, Any]:
    found = await invoice.get(conn, who.account, wanted)
    if found is None:
        raise error.NotFound(f"There is no invoice {wanted} in this account.", key="id")
    draws = await draw.of_invoices(conn, who.account, invoices=[wanted])
    return _show(found, who.account_id, draws[wanted])


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
        **line.totals(item),
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
