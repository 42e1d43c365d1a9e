"""/credits: credit grants of customers. Dates are inclusive. What is left of them is in api/balance.py.

A grant is money in one currency, or units of one usage metric. Invoices of billing schedules draw on it; a grant that
was drawn on stays. Grants that phases issue are made by the phases' terms (api/term.py); what is left of them is
among the customer's balances.
"""

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import error, instant, page, wire
from api.term import exact
from rating import currency, money, number
from rating.error import AmountTooLarge, InvalidGrant
from rating.terms import CreditUnit
from store import credit, customer, metric
from store.credit import Grant
from store.db import Connection

# Makes the invoice for what a grant costs; the composition root hands over the invoicer's.
Charge: TypeAlias = Callable[[Connection, int, Grant, datetime], Awaitable[None]]


def routes(charge: Charge) -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/credits", _list),
        web.post("/credits", partial(_create, charge)),
        web.get("/credits/{id}", _get),
        web.delete("/credits/{id}", _delete),
    ]


class _CreateRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    sequence_account_id: UUID
    customer_id: UUID
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    credit_unit_type: CreditUnit
    currency: str
    amount: Decimal
    metric_id: UUID | None = None
    cost_of_credit: Decimal | None = None
    effective_date: date | None = None
    expiry_date: date | None = None
    create_invoice: bool = False


async def _create(charge: Charge, request: web.Request) -> web.Response:
    who, asked = wire.principal(request), await wire.read(request, _CreateRequest)
    now = wire.now(request)
    if asked.sequence_account_id != who.account_id:
        message = f"This key does not open an account {asked.sequence_account_id}."
        raise error.NotFound(message, key="sequenceAccountId")
    made = Grant(
        id=uuid7(),
        customer=asked.customer_id,
        name=asked.name,
        unit=asked.credit_unit_type,
        currency=asked.currency,
        metric=asked.metric_id,
        amount=asked.amount,
        cost=asked.cost_of_credit or Decimal(0),
        effective_date=asked.effective_date or now.astimezone(ZoneInfo(who.time_zone)).date(),
        expiry_date=asked.expiry_date,
        created_at=now,
    )
    _check(made)
    if asked.create_invoice and not made.cost:
        raise InvalidGrant("an invoice needs what the credit costs", key="costOfCredit")
    async with wire.connection(request) as conn, conn.transaction():
        await customer.get(conn, who.account, customer=made.customer, key="customerId")
        await _check_metric(conn, who.account, made)
        await credit.create(conn, who.account, grant=made)
        if asked.create_invoice:
            await charge(conn, who.account, made, now)
    return wire.reply(_show(made, account_id=who.account_id), 201)


async def _get(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await credit.get(conn, who.account, grant=wanted), account_id=who.account_id))


async def _list(request: web.Request) -> web.Response:
    who, query = wire.principal(request), wire.read_query(request, page.PageQuery)
    async with wire.connection(request) as conn:
        found = await credit.listing(conn, who.account, page=query.page())
    return page.reply(found, lambda grant: _show(grant, account_id=who.account_id))


async def _delete(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        found = await credit.delete(conn, who.account, grant=wanted, now=wire.now(request))
    return wire.reply(_show(found, account_id=who.account_id))


def _check(made: Grant) -> None:
    """Refuse what could never pay anything, or could not be kept exactly."""
    currency.digits(made.currency)
    for key, amount in (("amount", made.amount), ("costOfCredit", made.cost)):
        number.check(amount, key=key)
        if amount < 0:
            raise InvalidGrant("the amount must not be negative", key=key)
    instant.check_days(effectiveDate=made.effective_date, expiryDate=made.expiry_date)
    if made.expiry_date is not None and made.expiry_date < made.effective_date:
        raise InvalidGrant("expiryDate must not lie before effectiveDate", key="expiryDate")
    try:
        money.round_minor(made.cost, made.currency)
    except AmountTooLarge as exc:
        raise InvalidGrant(str(exc), key="costOfCredit") from exc
    if (made.unit is CreditUnit.METRIC) != (made.metric is not None):
        message = "a grant of units needs its metric, a grant of money has none"
        raise InvalidGrant(message, key="metricId")


async def _check_metric(conn: Connection, account: int, made: Grant) -> None:
    if made.metric is not None and made.metric not in await metric.load(conn, account, [made.metric]):
        raise error.NotFound(f"There is no usage metric {made.metric}. Create it first.", key="metricId")


def _show(found: Grant, *, account_id: UUID) -> dict[str, Any]:
    return {
        "id": found.id,
        "sequenceAccountId": account_id,
        "customerId": found.customer,
        "name": found.name,
        "creditUnitType": found.unit,
        "currency": found.currency,
        "metricId": found.metric,
        "amount": exact(found.amount),
        "costOfCredit": exact(found.cost),
        "taxRateId": None,
        "effectiveDate": found.effective_date,
        "expiryDate": found.expiry_date,
        "createdAt": found.created_at,
        "creditNoteId": None,
        "integrationIds": [],
    }
