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
