"""/billing-schedules: contracts. Dates are inclusive here, as in the reference.

A schedule is checked by rating when it is made, draft or not: what could not be billed does not get in. Started, it has
a next bill date; a start in the past makes it due at once, once for every date that went by.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web
from uuid_utils.compat import uuid7

from api import amendment, contract, milestone, page, phase, wire
from api import price as prices
from api.contract import CreateRequest, ScheduleQuery, UpdateRequest
from rating.price import Price
from rating.schedule import Schedule, next_bill_date
from store import customer, draw, family, price, progress, schedule, schedule_version, tax
from store.customer import CustomerStatus
from store.db import Connection
from store.error import CustomerUnusable, GrantBilled, GrantDrawn, NotAParent, PriceUnusable, ScheduleArchived
from store.price import PriceStatus, StoredPrice
from store.progress import Billed
from store.schedule import BillingSchedule

NEVER_BILLED = Billed()


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/billing-schedules", _list),
        web.post("/billing-schedules", _create),
        web.get("/billing-schedules/{id}", _get),
        web.put("/billing-schedules/{id}", _update),
        web.put("/billing-schedules/{id}/activate", _activate),
        web.post("/billing-schedules/{id}/archive", _archive),
        web.post("/billing-schedules/{id}/phases/{phase}/complete", _complete),
    ]


class _Caller(NamedTuple):
    """Who asks, when, and which day that is in the account's zone."""

    account: int
    account_id: UUID
    zone: ZoneInfo
    now: datetime
    today: date


async def _create(request: web.Request) -> web.Response:
    caller = _caller(request)
    made = contract.made(await wire.read(request, CreateRequest), id_=uuid7(), now=caller.now)
    async with wire.connection(request) as conn, conn.transaction():
        made = await _scheduled(conn, caller, made, billed=NEVER_BILLED)
        await schedule.create(conn, caller.account, schedule=made)
        return wire.reply(await _shown(conn, caller, made.id), 201)


async def _get(request: web.Request) -> web.Response:
    wanted = wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(await _shown(conn, _caller(request), wanted))


async def _list(request: web.Request) -> web.Response:
    caller, query = _caller(request), wire.read_query(request, ScheduleQuery)
    where = contract.wanted(query, today=caller.today)
    async with wire.connection(request) as conn:
        found = await schedule.listing(conn, caller.account, where=where, page=query.page())
        known = await _prices(conn, caller.account, found.items)
    return page.reply(found, lambda item: _show(item, known, account_id=caller.account_id))


async def _update(request: web.Request) -> web.Response:
    caller, wanted = _caller(request), wire.path_id(request)
    asked = await wire.read(request, UpdateRequest)
    async with wire.connection(request) as conn, conn.transaction():
        before = await _held(conn, caller, wanted)
        after = contract.changed(before, asked, now=caller.now)
        billed = NEVER_BILLED
        terms = await _terms(conn, caller.account, before)
        if not before.is_draft:
            amendment.check(before, after, terms=terms, today=caller.today)
            billed = await progress.billed(conn, caller.account, schedule=before)
            await _check_grants(conn, caller.account, before, after)
        after = await _scheduled(conn, caller, after, billed=billed, before=before)
        if not before.is_draft:
            amendment.check_billed(terms, await _terms(conn, caller.account, after), billed=billed)
        await _keep(conn, caller, before, after)
        return wire.reply(await _shown(conn, caller, wanted))


async def _activate(request: web.Request) -> web.Response:
    caller, wanted = _caller(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        found = await _held(conn, caller, wanted)
        if found.is_draft:
            started = msgspec.structs.replace(found, is_draft=False, updated_at=caller.now)
            started = await _scheduled(conn, caller, started, billed=NEVER_BILLED)
            await schedule.update(conn, caller.account, schedule=started)
        return wire.reply(await _shown(conn, caller, wanted))


async def _archive(request: web.Request) -> web.Response:
    caller, wanted = _caller(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        found = await schedule.get(conn, caller.account, schedule=wanted, today=caller.today, for_update=True)
        if found.archived_at is None:
            ended = msgspec.structs.replace(found, archived_at=caller.now, updated_at=caller.now)
            await schedule.update(conn, caller.account, schedule=schedule.due_on(ended, None, zone=caller.zone))
        return wire.reply(await _shown(conn, caller, wanted))


async def _complete(request: web.Request) -> web.Response:
    caller, wanted = _caller(request), wire.path_id(request)
    asked = await wire.read(request, milestone.CompleteRequest)
    async with wire.connection(request) as conn, conn.transaction():
        found = await _held(conn, caller, wanted)
        billed = await progress.billed(conn, caller.account, schedule=found)
        day = asked.completed_on or caller.today
        done = milestone.completed(found, wire.path_id(request, "phase"), on=day, today=caller.today, billed=billed)
        done = msgspec.structs.replace(done, updated_at=caller.now)
        done = await _scheduled(conn, caller, done, billed=billed, before=found)
        await _keep(conn, caller, found, done)
        return wire.reply(await _shown(conn, caller, wanted))


def _caller(request: web.Request) -> _Caller:
    who, now = wire.principal(request), wire.now(request)
    zone = ZoneInfo(who.time_zone)
    return _Caller(who.account, who.account_id, zone, now, now.astimezone(zone).date())


async def _held(conn: Connection, caller: _Caller, wanted: UUID) -> BillingSchedule:
    """The schedule, locked, unless it does not change any more."""
    found = await schedule.get(conn, caller.account, schedule=wanted, today=caller.today, for_update=True)
    if found.archived_at is not None:
        raise ScheduleArchived
    return found


async def _scheduled(
    conn: Connection,
    caller: _Caller,
    asked: BillingSchedule,
    *,
    billed: Billed,
    before: BillingSchedule | None = None,
) -> BillingSchedule:
    """The schedule with its next bill date, none for a draft. Refuses terms that cannot be billed."""
    found = {one.id: one for one in await _held_prices(conn, caller.account, asked)}
    terms = schedule.terms(asked, {one.id: one.terms for one in found.values()})
    known = contract.tax_rates(before).values() if before else ()
    await tax.check_usable(conn, caller.account, rates=contract.tax_rates(asked), known=set(known))
    if asked.is_draft:
        return schedule.due_on(asked, None, zone=caller.zone)
    if before is None or before.is_draft:
        await _check_startable(conn, caller, asked, found)
    else:
        _check_prices(asked, found, known={price for part in before.phases for price in part.prices})
    return schedule.due_on(asked, next_bill_date(terms, billed.last_date), zone=caller.zone)


async def _held_prices(conn: Connection, account: int, asked: BillingSchedule) -> list[StoredPrice]:
    """The prices of all phases, which are not deleted while the schedule takes them."""
    found: list[StoredPrice] = []
    for index, part in enumerate(asked.phases):
        key = f"phases[{index}].priceIds"
        found += await price.get_all(conn, account, prices=part.prices, hold=True, key=key)
    return found


async def _check_startable(
    conn: Connection, caller: _Caller, asked: BillingSchedule, found: Mapping[UUID, StoredPrice]
) -> None:
    who = await customer.get(conn, caller.account, customer=asked.customer, key="customerId")
    if who.archived_at is not None or who.status is not CustomerStatus.ACTIVE:
        raise CustomerUnusable(key="customerId")
    if asked.is_rolled_up:
        below = await family.descendants(conn, caller.account, customers=[asked.customer])
        if not below[asked.customer]:
            raise NotAParent(key="rollUpBilling")
    _check_prices(asked, found)


def _check_prices(
    asked: BillingSchedule, found: Mapping[UUID, StoredPrice], *, known: Collection[UUID] = frozenset()
) -> None:
    """Prices that the schedule did not have before must be usable."""
    for place, part in enumerate(asked.phases):
        for index, one in enumerate(part.prices):
            if one not in known and found[one].status is not PriceStatus.ACTIVE:
                raise PriceUnusable(key=f"phases[{place}].priceIds[{index}]")


async def _check_grants(conn: Connection, account: int, before: BillingSchedule, after: BillingSchedule) -> None:
    """What was drawn on stays, and so does what was paid for."""
    kept = {grant.id for part in after.phases for grant in part.terms.grants}
    gone = {grant.id for part in before.phases for grant in part.terms.grants} - kept
    if gone:
        if await progress.is_charged(conn, account, schedule=before.id, of=[UUID(one) for one in gone]):
            raise GrantBilled(key="phases.creditGrants")
        drawn = (await draw.drawn(conn, account, schedules=[before.id]))[before.id]
        # The id of a phase's grant ends with its day of issue (rating.credit.issued).
        if any(amount and id_.partition("@")[0] in gone for id_, amount in drawn.items()):
            raise GrantDrawn(key="phases.creditGrants")


async def _keep(conn: Connection, caller: _Caller, before: BillingSchedule, after: BillingSchedule) -> None:
    """The new state, and, if bills may have been made with them, the terms it replaces."""
    if not before.is_draft and schedule_version.is_other(before, after):
        await schedule_version.keep(conn, caller.account, before=before, now=caller.now)
    await schedule.update(conn, caller.account, schedule=after)


async def _terms(conn: Connection, account: int, of: BillingSchedule) -> Schedule:
    known = await _prices(conn, account, [of])
    return schedule.terms(of, {one.id: one.terms for one in known.values()})


async def _shown(conn: Connection, caller: _Caller, wanted: UUID) -> dict[str, Any]:
    found = await schedule.get(conn, caller.account, schedule=wanted, today=caller.today)
    return _show(found, await _prices(conn, caller.account, [found]), account_id=caller.account_id)


async def _prices(conn: Connection, account: int, schedules: Sequence[BillingSchedule]) -> dict[UUID, StoredPrice]:
    wanted = {one for item in schedules for part in item.phases for one in part.prices}
    return {found.id: found for found in await price.get_all(conn, account, prices=list(wanted))}


def _show(found: BillingSchedule, known: Mapping[UUID, StoredPrice], *, account_id: UUID) -> dict[str, Any]:
    own = [known[one] for one in dict.fromkeys(one for part in found.phases for one in part.prices)]
    return {
        "id": found.id,
        "customerId": found.customer,
        "status": found.status,
        "startDate": found.start_date,
        "endDate": found.end_date,
        "firstBillingDate": _first_date(found, {one.id: one.terms for one in own}),
        "recurrenceDayOfMonth": found.recurrence_day,
        "autoIssueInvoices": found.auto_issue,
        "prices": [prices.show(one) for one in own],
        "phases": [phase.show(part, schedule=found.id, account_id=account_id) for part in found.phases],
        "taxRates": found.tax_rates,
        "rollUpBilling": found.is_rolled_up,
        "lastInvoiceId": found.last_invoice,
        "createdAt": found.created_at,
        "updatedAt": found.updated_at,
        "archivedAt": found.archived_at,
        # Not in the reference: why billing was set aside, so that nobody has to search a log, and what does not happen.
        "parked": found.parked,
        "warnings": contract.warnings(found),
        **contract.show_particulars(found.particulars),
        **contract.NOT_OFFERED,
    }


def _first_date(found: BillingSchedule, known: Mapping[UUID, Price]) -> date | None:
    return next_bill_date(schedule.terms(found, known), None)
