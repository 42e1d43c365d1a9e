"""Drafts that are calculated again, invoices that are finalized and voided: numbers, credit, and who comes first."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from invoicer.run import Invoicer
from meter import stream
from store.account import Principal
from store.db import Connection, Pool
from tests import company
from tests.api import bodies
from tests.invoicer.test_case import at, used
from tests.invoicer.test_grant import granted
from tests.invoicer.test_late import FEBRUARY, MARCH, due

NOWHERE = "00000000-0000-7000-8000-000000000007"


async def balance(api: Any, who: str) -> str:
    (found,) = (await api.get(f"/credits/{who}/balances")).body["items"]
    return str(found["balance"])


async def test_case_42_a_voided_invoice_returns_its_credit(api: Any, account: Principal) -> None:
    who = await company.customer(api)
    await company.schedule(api, who, [await company.price(api, company.fixed("30"))], start="2025-01-01")
    await granted(api, account, who, amount=100)
    (invoice,) = await due(api, FEBRUARY)
    assert (await balance(api, who), invoice["netTotal"]) == ("70", "0.00")

    voided = await api.made(f"/invoices/{invoice['id']}/void", None)

    assert await balance(api, who) == "100"
    assert (voided["status"], voided["invoiceNumber"], voided["appliedCreditGrants"]) == ("VOIDED", "SEQ1", [])
    assert (await api.post(f"/invoices/{invoice['id']}/void")).codes == ["INVOICE_STATUS"]
    assert await balance(api, who) == "100"


async def test_case_40_the_invoice_for_a_grant_is_voided_and_the_grant_stays(api: Any, account: Principal) -> None:
    await api.made("/tax-rates", bodies.tax_rate(country="GB", amount="0.2"))
    who = await company.customer(api)

    grant = await granted(api, account, who, createInvoice=True, costOfCredit="80", expiryDate="2025-12-31")

    (invoice,) = await company.invoices(api)
    (line,) = await company.lines(api, invoice)
    assert (invoice["netTotal"], invoice["totalTax"], invoice["billingScheduleId"]) == ("80.00", "16.00", None)
    assert (line["title"], line["creditGrantId"]) == ("Onboarding credits", grant)
    assert line["servicePeriod"] == {"startDate": "2025-01-01", "endDate": "2025-12-31"}
    assert invoice["warnings"] == []
    assert (await api.post(f"/invoices/{invoice['id']}/draft")).codes == ["CANNOT_RECALCULATE"]
    await api.made(f"/invoices/{invoice['id']}/void", None)
    assert await balance(api, who) == "100"


async def test_a_draft_is_calculated_again_with_what_holds_now(api: Any, account: Principal) -> None:
    calls = await company.metric(api)
    who = await company.customer(api)
    await company.schedule(api, who, [await company.price(api, company.linear("1", calls))], start="2025-01-01")
    await granted(api, account, who, amount=12)
    await used(api, "2025-01-10", 10)
    (draft,) = await due(api, FEBRUARY)
    await api.made("/tax-rates", bodies.tax_rate(country="GB", amount="0.2"))
    await used(api, "2025-01-20", 5)

    again = await api.made(f"/invoices/{draft['id']}/draft", None)

    assert (draft["netTotal"], draft["totalTax"]) == ("0.00", "0.00")
    assert (again["netTotal"], again["totalTax"], again["id"]) == ("3.00", "0.60", draft["id"])
    assert [one["code"] for one in (*draft["warnings"], *again["warnings"])] == ["TAX_RATE_MISSING"]
    assert again["projectedCreditGrants"][0]["amount"] == "12.00"
    assert again["calculatedAt"] == "2025-03-10T12:00:00Z"
    assert await balance(api, who) == "0"


async def test_calculating_again_changes_nothing_when_nothing_is_new(api: Any, account: Principal) -> None:
    who = await company.customer(api)
    await company.schedule(api, who, [await company.price(api, company.fixed("30"))], start="2025-01-01")
    await granted(api, account, who)
    (draft,) = await due(api, FEBRUARY)
    before = [line | {"id": None, "groupId": None} for line in await company.lines(api, draft)]

    for _ in range(3):
        await api.made(f"/invoices/{draft['id']}/draft", None)

    after = [line | {"id": None, "groupId": None} for line in await company.lines(api, draft)]
    assert (before, await balance(api, who)) == (after, "70")


async def test_what_is_final_is_not_calculated_again_and_not_finalized_twice(api: Any) -> None:
    await company.contract(api, [company.fixed("30")], start="2025-01-01")
    (draft,) = await due(api, FEBRUARY)

    final = await api.made(f"/invoices/{draft['id']}/finalize", None)

    assert (final["status"], final["invoiceNumber"]) == ("FINAL", "SEQ1")
    assert (await api.post(f"/invoices/{draft['id']}/finalize")).codes == ["INVOICE_STATUS"]
    assert (await api.post(f"/invoices/{draft['id']}/draft")).codes == ["INVOICE_STATUS"]
    assert (await api.get(f"/invoices/{draft['id']}")).body == final


@pytest.mark.parametrize("what", ["draft", "finalize", "void"])
async def test_an_invoice_that_is_not_there_is_not_found(api: Any, what: str) -> None:
    assert (await api.post(f"/invoices/{NOWHERE}/{what}")).codes == ["NOT_FOUND"]


async def test_a_draft_whose_contract_ended_before_it_is_not_calculated_again(api: Any) -> None:
    who = await company.customer(api)
    fee = await company.price(api, company.fixed("30"), billing_type="IN_ADVANCE")
    schedule = await company.schedule(api, who, [fee], start="2025-02-01")
    *_, march = await due(api, MARCH)
    api.clock.now = at("2025-02-20")
    contract = (await api.get(f"/billing-schedules/{schedule}")).body
    await api.put(f"/billing-schedules/{schedule}", bodies.changed(contract, endDate="2025-02-28"))

    assert (await api.post(f"/invoices/{march['id']}/draft")).codes == ["CANNOT_RECALCULATE"]


async def test_usage_that_nobody_counts_is_waited_for_in_vain(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoicer.recalculate.COUNTED_SECONDS_MAX", 0.05)
    calls = await company.metric(api)
    await company.contract(api, [company.linear("1", calls)], start="2025-01-01")
    (draft,) = await due(api, FEBRUARY)
    await api.post("/usage-events", company.event("late", "2025-01-20T00:00:00Z"))

    reply = await api.post(f"/invoices/{draft['id']}/draft")

    assert (reply.status, reply.codes) == (504, ["NOT_COUNTED_YET"])


async def test_numbers_are_gapless_under_concurrency(api: Any, conn: Connection) -> None:
    for n in range(8):
        await company.contract(api, [company.fixed("30")], start="2025-01-01", alias=f"c{n}")
    drafts = await due(api, FEBRUARY)
    moves = [f"/invoices/{one['id']}/{what}" for one in drafts for what in ("finalize", "void", "finalize")]

    replies = await asyncio.gather(*(api.post(move) for move in moves))

    numbers = [row["number"] for row in await conn.fetch("select number from invoice order by number")]
    assert numbers == list(range(1, 9))
    assert {code for reply in replies if reply.status != 200 for code in reply.codes} <= {"INVOICE_STATUS"}


async def test_voids_runs_and_recalculations_at_once_lose_no_credit(
    api: Any, pool: Pool, redis: Redis, account: Principal
) -> None:
    who = await company.customer(api)
    fee = await company.price(api, company.fixed("30"))
    for _ in range(4):
        await company.schedule(api, who, [fee], start="2025-01-01")
    await granted(api, account, who, amount=150)
    drafts = await due(api, FEBRUARY)
    run = Invoicer(pool, ends=lambda: stream.ends(redis, stream.names(1)))

    await asyncio.gather(
        run.step(MARCH),
        *(api.post(f"/invoices/{one['id']}/void") for one in drafts[:2]),
        *(api.post(f"/invoices/{one['id']}/draft") for one in drafts),
    )

    found = await company.invoices(api)
    drawn = sum(Decimal(one["amount"]) for invoice in found for one in invoice["projectedCreditGrants"])
    assert Decimal(await balance(api, who)) == 150 - drawn
    assert Decimal(await balance(api, who)) >= 0
    assert [one["status"] for one in found].count("VOIDED") == 2


async def test_grants_of_phases_are_in_the_balances_until_they_expire(api: Any) -> None:
    who = await company.customer(api)
    fee = await company.price(api, company.fixed("30"))
    grant = {
        "name": "Monthly",
        "creditUnitType": "CURRENCY",
        "currency": "USD",
        "amount": 100,
        "grantRefreshFrequency": "MONTHLY",
        "rolloverMode": "ON_GRANT_REFRESH",
    }
    await company.schedule(
        api, who, [], start="2025-01-01", phases=[company.phase([fee], "2025-01-01", creditGrants=[grant])]
    )
    (january, *_) = await due(api, MARCH)

    (found,) = (await api.get(f"/credits/{who}/balances")).body["items"]

    # Issued on the first of January, February and March; both bills drew on the oldest.
    assert (found["type"], found["name"], found["balance"]) == ("CASH", "USD", "240")
    assert [one["currentBalance"] for one in found["grants"]] == ["40", "100", "100"]
    assert [(one["type"], one["amount"]) for one in found["transactions"]][3:] == [("DEBIT", "30"), ("DEBIT", "30")]
    assert january["projectedCreditGrants"][0]["creditGrantId"] == found["grants"][0]["id"]
    held = (await api.get(f"/credits/{who}/grants")).body["items"]
    assert [one["issueDate"] for one in held] == ["2025-01-01", "2025-02-01", "2025-03-01"]


async def test_a_grant_of_a_phase_that_was_drawn_on_stays(api: Any) -> None:
    who = await company.customer(api)
    fee = await company.price(api, company.fixed("30"))
    grant = {
        "name": "Once",
        "creditUnitType": "CURRENCY",
        "currency": "USD",
        "amount": 100,
        "grantRefreshFrequency": "NONE",
        "rolloverMode": "NONE",
    }
    phases = [company.phase([fee], "2025-01-01", creditGrants=[grant])]
    schedule = await company.schedule(api, who, [], start="2025-01-01", phases=phases)
    asked = bodies.changed((await api.get(f"/billing-schedules/{schedule}")).body)
    asked["phases"][0]["creditGrants"] = []
    await due(api, MARCH)

    reply = await api.put(f"/billing-schedules/{schedule}", asked)

    assert (reply.status, reply.codes) == (409, ["GRANT_DRAWN"])
