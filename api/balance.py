"""/credits/{customerId}/balances and /grants: what is left of a customer's credit.

A balance is all grants of one kind: money of one currency (CASH), or units of one metric (USAGE). Drafts count: what
they take is gone at once, and comes back if they are deleted or voided.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from aiohttp import web

from api import wire
from api.term import exact
from rating import number
from rating.terms import CreditUnit
from store import credit, customer, draw
from store.credit import Grant
from store.draw import StoredDraw

_TYPES = {CreditUnit.CURRENCY: "CASH", CreditUnit.METRIC: "USAGE"}


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/credits/{customer}/balances", _balances),
        web.get("/credits/{customer}/grants", _grants),
    ]


async def _balances(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request, "customer")
    async with wire.connection(request) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        await customer.get(conn, who.account, customer=wanted)
        grants = await credit.of_customer(conn, who.account, customer=wanted)
        draws = await draw.of_customer(conn, who.account, customer=wanted)
        names = await credit.metric_names(conn, who.account, grants=grants)
    alike: dict[str, list[Grant]] = {}
    for grant in grants:
        alike.setdefault(str(grant.metric or grant.currency), []).append(grant)
    items = [_show(some, draws, names=names, account_id=who.account_id) for some in alike.values()]
    return wire.reply({"items": items})


async def _grants(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request, "customer")
    async with wire.connection(request) as conn:
        await customer.get(conn, who.account, customer=wanted)
        found = await credit.of_customer(conn, who.account, customer=wanted)
    return wire.reply({"items": [_show_item(grant) for grant in found if grant.balance]})


def _show(
    grants: Sequence[Grant], draws: Sequence[StoredDraw], *, names: Mapping[UUID, str], account_id: UUID
) -> dict[str, Any]:
    first = grants[0]
    own = {str(grant.id) for grant in grants}
    unit = str(first.metric or first.currency)
    return {
        # A balance has no row: its id follows from whose it is and what of.
        "id": uuid5(first.customer, unit),
        "type": _TYPES[first.unit],
        "name": names.get(first.metric, unit) if first.metric else unit,
        "balance": number.plain(sum((grant.balance for grant in grants), start=Decimal(0))),
        "grants": [_show_grant(grant, account_id=account_id) for grant in grants],
        "transactions": [
            *(_show_issue(grant) for grant in grants),
            *(_show_draw(one) for one in draws if one.grant in own),
        ],
    }


def _show_grant(grant: Grant, *, account_id: UUID) -> dict[str, Any]:
    return {
        "id": grant.id,
        "sequenceAccountId": account_id,
        "customerId": grant.customer,
        "type": _TYPES[grant.unit],
        "currency": grant.currency,
        "metricId": grant.metric,
        "name": grant.name,
        "originalAmount": number.plain(grant.amount),
        "currentBalance": number.plain(grant.balance),
        "expiryDate": grant.expiry_date,
        "costOfCredit": number.plain(grant.cost),
        "taxRateId": None,
        "effectiveDate": grant.effective_date,
        "createdAt": grant.created_at,
    }


def _show_issue(grant: Grant) -> dict[str, Any]:
    return {
        "id": grant.id,
        "grantId": grant.id,
        "reason": grant.name,
        "invoiceId": None,
        "billingRunId": None,
        "type": "CREDIT",
        "amount": number.plain(grant.amount),
        "date": grant.effective_date,
    }


def _show_draw(of: StoredDraw) -> dict[str, Any]:
    is_back = of.amount < 0
    return {
        "id": of.id,
        "grantId": of.grant,
        "reason": of.name,
        "invoiceId": of.invoice,
        "billingRunId": None,
        "type": "CREDIT" if is_back else "DEBIT",
        "amount": number.plain(abs(of.amount)),
        "date": of.bill_date,
    }


def _show_item(grant: Grant) -> dict[str, Any]:
    return {
        "id": grant.id,
        "name": grant.name,
        "grantAmount": exact(grant.amount),
        "balance": exact(grant.balance),
        "issueDate": grant.effective_date,
        "expiryDate": grant.expiry_date,
    }
