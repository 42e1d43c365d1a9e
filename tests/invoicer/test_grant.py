"""Credit grants under the billing run: what they pay, who shares them, and that none is ever overdrawn."""

import asyncio
from decimal import Decimal
from typing import Any

from redis.asyncio import Redis

from invoicer.run import Invoicer
from meter import stream
from store.account import Principal
from store.db import Connection, Pool
from tests import company
from tests.api import bodies
from tests.invoicer.test_case import at, billed, phased, used

BALANCE = """
select amount - (select sum(draw.amount) from credit_draw as draw where draw.credit_grant = credit_grant.id)
from credit_grant
"""
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
SET_TWO_ASIDE = """
update billing_schedule set parked_reason = 'X', parked_until = '2025-06-01'
where id in (select id from billing_schedule limit 2)
"""
BRING_THEM_BACK = "update billing_schedule set parked_reason = null, parked_until = null"


async def granted(api: Any, account: Principal, customer: str, **changes: Any) -> str:
    body = bodies.credit(account.account_id, customer, **changes)
    return str((await api.made("/credits", body))["id"])


def invoicer(pool: Pool, redis: Redis) -> Invoicer:
    return Invoicer(pool, ends=lambda: stream.ends(redis, stream.names(1)), counted_wait_seconds=5)


async def test_case_40_units_that_were_bought_before_pay_for_usage(api: Any, account: Principal) -> None:
    calls = await company.metric(api)
    usage = await company.price(api, company.linear("0.10", calls))
    await phased(api, company.phase([usage], "2023-03-01"))
    who = (await api.get("/customers")).body["items"][0]["id"]
    units = {"creditUnitType": "METRIC", "metricId": calls, "amount": 1732, "effectiveDate": "2023-03-01"}
    grant = await granted(api, account, who, **units)
    await used(api, "2023-03-10", 2_000)

    assert await billed(api, "2023-04-01") == [("2023-04-01", "26.80")]
    (invoice,) = await company.invoices(api)
    assert [line["netTotal"] for line in await company.lines(api, invoice)] == ["200.00", "-173.20"]
    assert (await company.lines(api, invoice))[1]["creditGrantId"] == grant
    assert invoice["projectedCreditGrants"] == [
        {"creditGrantId": grant, "creditGrantName": "Onboarding credits", "amount": "173.20"}
    ]
    (balance,) = (await api.get(f"/credits/{who}/balances")).body["items"]
    assert (balance["type"], balance["name"], balance["balance"]) == ("USAGE", "calls", "0")
    assert [(one["type"], one["amount"]) for one in balance["transactions"]] == [("CREDIT", "1732"), ("DEBIT", "1732")]
    assert (await api.get(f"/credits/{who}/grants")).body["items"] == []


async def test_a_grant_of_a_phase_is_issued_again_each_month(api: Any) -> None:
    fee = await company.price(api, company.fixed("130"))
    grant = {
        "name": "Monthly",
        "creditUnitType": "CURRENCY",
        "currency": "USD",
        "amount": 100,
        "grantRefreshFrequency": "MONTHLY",
        "rolloverMode": "NONE",
    }
    await phased(api, company.phase([fee], "2025-01-01", creditGrants=[grant]))

    assert await billed(api, "2025-03-01") == [("2025-02-01", "30.00"), ("2025-03-01", "30.00")]
    grants = [one["projectedCreditGrants"][0]["creditGrantId"] for one in await company.invoices(api)]
    assert [grant.partition("@")[2] for grant in grants] == ["2025-01-01", "2025-02-01"]


async def test_what_is_left_of_a_phases_grant_is_less_after_each_bill(api: Any) -> None:
    fee = await company.price(api, company.fixed("60"))
    grant = {
        "name": "Prepaid",
        "creditUnitType": "CURRENCY",
        "currency": "USD",
        "amount": 100,
        "grantRefreshFrequency": "NONE",
        "rolloverMode": "NONE",
    }
    await phased(api, company.phase([fee], "2025-01-01", creditGrants=[grant]))

    assert [net for _, net in await billed(api, "2025-04-01")] == ["0.00", "20.00", "60.00"]


async def test_schedules_of_one_customer_share_a_grant_in_one_run(api: Any, account: Principal) -> None:
    who = await company.customer(api)
    fee = await company.price(api, company.fixed("60"))
    for _ in range(3):
        await company.schedule(api, who, [fee], start="2025-02-01")
    await granted(api, account, who)

    found = await billed(api, "2025-03-01")

    assert sorted(net for _, net in found) == ["0.00", "20.00", "60.00"]


async def test_two_runs_at_once_never_overdraw_a_grant(
    api: Any, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    who = await company.customer(api)
    fee = await company.price(api, company.fixed("60"))
    for _ in range(4):
        await company.schedule(api, who, [fee], start="2025-02-01")
    await granted(api, account, who)
    # The first run claims what is due and waits for the grant; the second finds two more schedules and waits behind it.
    await conn.execute(SET_TWO_ASIDE)
    async with conn.transaction():
        await conn.execute("select from credit_grant for update")
        first = asyncio.create_task(invoicer(pool, redis).step(at("2025-03-01")))
        await _until_waiting(pool, 1)
        await pool.execute(f"{BRING_THEM_BACK} where parked_until is not null")
        second = asyncio.create_task(invoicer(pool, redis).step(at("2025-03-01")))
        await _until_waiting(pool, 2)
    assert (await first, await second) == (2, 2)

    assert sorted(one["netTotal"] for one in await company.invoices(api)) == ["0.00", "20.00", "60.00", "60.00"]
    assert await conn.fetchval(BALANCE) == Decimal(0)


async def test_a_grant_that_has_expired_on_the_last_service_day_pays_nothing(api: Any, account: Principal) -> None:
    await company.contract(api, [company.fixed("60")], start="2025-02-01")
    who = (await api.get("/customers")).body["items"][0]["id"]
    await granted(api, account, who, expiryDate="2025-02-27")

    assert await billed(api, "2025-03-01") == [("2025-03-01", "60.00")]


async def _until_waiting(pool: Pool, runs: int) -> None:
    """Until so many runs wait for a lock."""
    async with asyncio.timeout(10):
        # Postgres tells nobody that someone waits, so there is no event of ours to wait for.
        while await pool.fetchval(WAITING) < runs:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


BOUGHT = {
    "name": "Bundle",
    "creditUnitType": "CURRENCY",
    "currency": "USD",
    "amount": 100,
    "costOfCredit": 80,
    "grantRefreshFrequency": "MONTHLY",
    "rolloverMode": "NONE",
}


async def test_what_a_grant_of_a_phase_costs_is_billed_with_every_issue(api: Any) -> None:
    rate = await api.made("/tax-rates", bodies.tax_rate(amount="0.2", isPublished=False))
    fee = await company.price(api, company.fixed("60"))
    grant = BOUGHT | {"taxRateId": rate["id"], "rolloverMode": "ON_GRANT_REFRESH_AND_PHASE"}
    choice = [{"priceId": fee, "taxRateId": rate["id"]}]
    discount = {"type": "PERCENTAGE", "amount": 50, "message": "Half", "separateLineItem": False}
    phase = company.phase([fee], "2025-01-15", "2025-02-28", creditGrants=[grant], discounts=[discount])
    schedule = await phased(api, phase, taxRates=choice)

    assert await billed(api, "2025-04-01") == [("2025-01-15", "80.00"), ("2025-02-01", "80.00"), ("2025-03-01", "0.00")]
    first, second, _ = await company.invoices(api)
    assert [one["totalTax"] for one in (first, second)] == ["16.00", "16.00"]
    assert first["billingPeriod"] == {"start": "2025-01-15", "endInclusive": "2025-01-31"}
    # The fee of January, 60 x 17 / 31 less a half, is paid with the credit; what the credit costs is neither.
    own = (await api.get(f"/billing-schedules/{schedule}")).body["phases"][0]["creditGrants"][0]
    assert (own["costOfCredit"], own["taxRateId"]) == (80, rate["id"])
    assert [(one["netTotal"], one["priceId"], one["creditGrantId"]) for one in await company.lines(api, second)] == [
        ("16.45", fee, None),
        ("80.00", None, f"{own['id']}@2025-02-01"),
        ("-16.45", None, f"{own['id']}@2025-01-15"),
    ]
    (issued,) = [one for one in await _held(api) if one["id"].endswith("02-01")]
    assert (issued["costOfCredit"], issued["taxRateId"]) == ("80", rate["id"])
    assert (await api.delete(f"/tax-rates/{rate['id']}")).codes == ["TAX_RATE_IN_USE"]


async def test_units_that_a_phase_gives_have_a_cost_of_their_own(api: Any) -> None:
    calls = await company.metric(api)
    usage = await company.price(api, company.linear("0.10", calls))
    units = BOUGHT | {"creditUnitType": "METRIC", "currency": None, "grantRefreshFrequency": "NONE"}
    await phased(api, company.phase([usage], "2025-01-01", creditGrants=[units]))
    await used(api, "2025-01-10", 120)

    assert await billed(api, "2025-03-01") == [("2025-01-01", "80.00"), ("2025-02-01", "2.00"), ("2025-03-01", "0.00")]
    assert [one["code"] for one in (await company.invoices(api))[0]["warnings"]] == ["TAX_RATE_MISSING"]


async def test_late_usage_does_not_bill_the_cost_of_a_grant_again(api: Any) -> None:
    rate = await api.made("/tax-rates", bodies.tax_rate(amount="0.2", isPublished=False))
    calls = await company.metric(api)
    usage = await company.price(api, company.linear("1", calls))
    grant = BOUGHT | {"amount": 5, "taxRateId": rate["id"]}
    choice = [{"priceId": usage, "taxRateId": rate["id"]}]
    await phased(api, company.phase([usage], "2025-01-01", "2025-02-28", creditGrants=[grant]), taxRates=choice)
    await used(api, "2025-01-10", 7)
    for invoice in (await billed(api, "2025-02-01")) and await company.invoices(api):
        await api.made(f"/invoices/{invoice['id']}/finalize", None)
    await used(api, "2025-01-20", 2)

    assert (await billed(api, "2025-03-01"))[1:] == [("2025-02-01", "82.00"), ("2025-03-01", "2.00")]
    assert (await company.invoices(api))[2]["totalTax"] == "0.40"


async def test_a_grant_whose_cost_is_billed_stays_and_none_is_slipped_in(api: Any) -> None:
    fee = await company.price(api, company.fixed("30"), billing_type="IN_ADVANCE")
    dear = BOUGHT | {"restrictToPrices": [fee], "creditUnitType": "METRIC"}
    bought = await phased(api, company.phase([fee], "2025-01-01", creditGrants=[dear]))
    other = await company.schedule(api, await company.customer(api, "other"), [fee], start="2025-01-01")
    await billed(api, "2025-02-01")
    without = bodies.changed((await api.get(f"/billing-schedules/{bought}")).body)
    without["phases"][0]["creditGrants"] = []
    slipped = bodies.changed((await api.get(f"/billing-schedules/{other}")).body)
    slipped["phases"][0]["creditGrants"] = [BOUGHT]

    replies = [
        await api.put(f"/billing-schedules/{one}", asked) for one, asked in ((bought, without), (other, slipped))
    ]

    assert [(reply.status, reply.codes) for reply in replies] == [(409, ["GRANT_BILLED"]), (409, ["SCHEDULE_RUNNING"])]
    assert replies[1].keys == ["phases[0].creditGrants[0].costOfCredit"]


async def _held(api: Any) -> list[dict[str, Any]]:
    """The grants of the customer's first balance."""
    who = (await api.get("/customers")).body["items"][0]["id"]
    return list((await api.get(f"/credits/{who}/balances")).body["items"][0]["grants"])
