"""/credits/{customerId}/balances and /grants: what is left of a customer's credit.

A balance is all grants of one kind: money of one currency (CASH), or units of one metric (USAGE). Drafts count: what
they take is gone at once, and comes back if they are voided. Grants that phases have issued are among them until they
expire; their id is that of the phase's grant with the day of issue. What has expired is in no balance.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from api import wire
from api.term import exact
from rating import credit as rating
from rating import number
from rating.terms import CreditUnit, GrantTerms
from store import credit, customer, draw, price, schedule
from store.db import Connection
from store.draw import StoredDraw
from store.page import Page
from store.schedule import BillingSchedule, Filter, Status

_TYPES = {CreditUnit.CURRENCY: "CASH", CreditUnit.METRIC: "USAGE"}
_DAY = timedelta(days=1)
# The newest schedules of a customer whose phases are looked at for grants.
SCHEDULES_MAX = 1_000
_STARTED = (Status.PENDING, Status.ACTIVE, Status.COMPLETED)


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    """A grant of either kind; dates inclusive."""

    id: str
    name: str
    unit: CreditUnit
    currency: str | None
    metric: UUID | None
    amount: Decimal
    balance: Decimal
    cost: Decimal
    effective_date: date
    expiry_date: date | None
    created_at: datetime
    tax_rate: str | None = None

    @property
    def kind(self) -> str:
        """What the balance is of. Units of no metric pay any usage of their prices."""
        if self.unit is CreditUnit.CURRENCY:
            return str(self.currency)
        return str(self.metric) if self.metric else "units"

    def counts(self, today: date) -> bool:
        return self.expiry_date is None or self.expiry_date >= today


class _Owner(msgspec.Struct, frozen=True):
    """Whose credit it is."""

    account_id: UUID
    customer: UUID


class _Credit(msgspec.Struct, frozen=True):
    """All grants of a customer, with what was taken from them."""

    grants: list[_Held]
    draws: list[StoredDraw]


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/credits/{customer}/balances", _balances),
        web.get("/credits/{customer}/grants", _grants),
    ]


async def _balances(request: web.Request) -> web.Response:
    who, wanted, today = wire.principal(request), wire.path_id(request, "customer"), _today(request)
    async with wire.connection(request) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        found = await _credit(conn, who.account, wanted, today=today)
        metrics = {grant.metric for grant in found.grants if grant.metric is not None}
        names = await credit.metric_names(conn, who.account, metrics=metrics)
    alike: dict[str, list[_Held]] = {}
    for grant in found.grants:
        alike.setdefault(grant.kind, []).append(grant)
    shown = [
        _show(some, found.draws, names=names, owner=_Owner(who.account_id, wanted), today=today)
        for some in alike.values()
    ]
    return wire.reply({"items": shown})


async def _grants(request: web.Request) -> web.Response:
    who, wanted, today = wire.principal(request), wire.path_id(request, "customer"), _today(request)
    async with wire.connection(request) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        found = await _credit(conn, who.account, wanted, today=today)
    return wire.reply({"items": [_show_item(grant) for grant in found.grants if grant.balance]})


def _today(request: web.Request) -> date:
    return wire.now(request).astimezone(ZoneInfo(wire.principal(request).time_zone)).date()


async def _credit(conn: Connection, account: int, wanted: UUID, *, today: date) -> _Credit:
    await customer.get(conn, account, customer=wanted)
    own = [_own(grant) for grant in await credit.of_customer(conn, account, customer=wanted)]
    where = Filter(today=today, customers=(wanted,), statuses=_STARTED, include_archived=True)
    listed = await schedule.listing(conn, account, where=where, page=Page(limit=SCHEDULES_MAX))
    granting = [one for one in listed.items if any(part.terms.grants for part in one.phases)]
    issued = await _issued(conn, account, granting, today=today)
    ids = {grant.id for grant in issued}
    draws = await draw.of_phases(conn, account, schedules=[one.id for one in granting]) if granting else []
    taken = [one for one in draws if one.grant in ids]
    return _Credit(own + issued, await draw.of_customer(conn, account, customer=wanted) + taken)


async def _issued(conn: Connection, account: int, schedules: Sequence[BillingSchedule], *, today: date) -> list[_Held]:
    """What the phases have issued and has not expired."""
    wanted = {(account, one) for of in schedules for part in of.phases for one in part.prices}
    prices = {one: terms for (_, one), terms in (await price.load(conn, wanted)).items()}
    drawn = await draw.drawn(conn, account, schedules=[of.id for of in schedules])
    found: list[_Held] = []
    for of in schedules:
        terms = schedule.terms(of, prices)
        agreed = {grant.id: grant for part in of.phases for grant in part.terms.grants}
        issued = rating.issued(terms, until=today, drawn=drawn[of.id])
        # The id of a phase's grant ends with its day of issue (rating.credit.issued).
        found += [_of_phase(one, agreed[one.id.partition("@")[0]], of) for one in issued]
    return [one for one in found if one.counts(today)]


def _own(grant: credit.Grant) -> _Held:
    return _Held(
        id=str(grant.id),
        name=grant.name,
        unit=grant.unit,
        currency=grant.currency,
        metric=grant.metric,
        amount=grant.amount,
        balance=grant.balance,
        cost=grant.cost,
        effective_date=grant.effective_date,
        expiry_date=grant.expiry_date,
        created_at=grant.created_at,
    )


def _of_phase(grant: rating.Grant, terms: GrantTerms, of: BillingSchedule) -> _Held:
    return _Held(
        id=grant.id,
        name=grant.name,
        unit=grant.unit,
        currency=grant.currency,
        metric=None if grant.metric_id is None else UUID(grant.metric_id),
        amount=terms.amount,
        balance=grant.balance,
        cost=terms.cost,
        tax_rate=terms.tax_rate_id,
        effective_date=grant.start,
        expiry_date=None if grant.end is None else grant.end - _DAY,
        created_at=of.created_at,
    )


def _show(
    grants: Sequence[_Held], draws: Sequence[StoredDraw], *, names: Mapping[UUID, str], owner: _Owner, today: date
) -> dict[str, Any]:
    first = grants[0]
    ids = {grant.id for grant in grants}
    return {
        # A balance has no row: its id follows from whose it is and what of.
        "id": uuid5(owner.customer, first.kind),
        "type": _TYPES[first.unit],
        "name": names.get(first.metric, first.kind) if first.metric else first.kind,
        "balance": number.plain(sum((one.balance for one in grants if one.counts(today)), start=Decimal(0))),
        "grants": [_show_grant(grant, owner) for grant in grants],
        "transactions": [
            *(_show_issue(grant) for grant in grants),
            *(_show_draw(one) for one in draws if one.grant in ids),
        ],
    }


def _show_grant(grant: _Held, owner: _Owner) -> dict[str, Any]:
    return {
        "id": grant.id,
        "sequenceAccountId": owner.account_id,
        "customerId": owner.customer,
        "type": _TYPES[grant.unit],
        "currency": grant.currency,
        "metricId": grant.metric,
        "name": grant.name,
        "originalAmount": number.plain(grant.amount),
        "currentBalance": number.plain(grant.balance),
        "expiryDate": grant.expiry_date,
        "costOfCredit": number.plain(grant.cost),
        "taxRateId": grant.tax_rate,
        "effectiveDate": grant.effective_date,
        "createdAt": grant.created_at,
    }


def _show_issue(grant: _Held) -> dict[str, Any]:
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


def _show_item(grant: _Held) -> dict[str, Any]:
    return {
        "id": grant.id,
        "name": grant.name,
        "grantAmount": exact(grant.amount),
        "balance": exact(grant.balance),
        "issueDate": grant.effective_date,
        "expiryDate": grant.expiry_date,
    }
