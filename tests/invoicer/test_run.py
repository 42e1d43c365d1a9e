"""The billing run against real servers: what is due is billed once, with all usage that was accepted before."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from invoicer.run import UNCOUNTED_RETRY, Invoicer
from meter import stream
from meter.history import History
from store.db import Connection, Pool
from tests import company

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)
DUE_AGAIN = """
update billing_schedule set next_bill_date = '2025-03-01', next_bill_at = '2025-03-01T00:00:00Z' where id = $1
"""
PARKED = "select parked_reason from billing_schedule where id = $1"


@pytest.fixture
def invoicer(pool: Pool, redis: Redis) -> Invoicer:
    return Invoicer(pool, ends=lambda: stream.ends(redis, stream.names(1)), counted_wait_seconds=5)


async def bill_all(invoicer: Invoicer, now: datetime = NOW) -> int:
    total = 0
    while done := await invoicer.step(now):
        total += done
    return total


async def invoices(api: Any) -> list[dict[str, Any]]:
    return list((await api.get("/invoices?sortOrder=ASC&limit=100")).body["items"])


async def lines(api: Any, invoice: dict[str, Any]) -> list[dict[str, Any]]:
    return list((await api.get(f"/invoices/{invoice['id']}/line-items")).body["items"])


async def test_a_backdated_schedule_is_billed_for_every_elapsed_period(api: Any, invoicer: Invoicer) -> None:
    await company.contract(api, [company.fixed("500")], start="2025-01-14")

    await bill_all(invoicer)

    found = await invoices(api)
    assert [i["accountingDate"] for i in found] == ["2025-02-01", "2025-03-01"]
    assert [i["netTotal"] for i in found] == ["290.32", "500.00"]
    assert found[0]["billingPeriod"] == {"start": "2025-01-14", "endInclusive": "2025-01-31"}


async def test_a_fee_in_advance_and_usage_in_arrears_share_one_invoice(api: Any, invoicer: Invoicer) -> None:
    calls = await company.metric(api)
    fee = await company.price(api, company.fixed("100"), billing_type="IN_ADVANCE")
    usage = await company.price(api, company.linear("0.10", calls))
    await company.schedule(api, await company.customer(api), [fee, usage], start="2025-02-01")
    await api.post("/usage-events", [company.event(f"e{n}", "2025-02-10T00:00:00Z") for n in range(550)])
    await api.aggregate()

    await bill_all(invoicer)

    first, second = await invoices(api)
    assert (first["netTotal"], second["netTotal"]) == ("100.00", "155.00")
    assert [line["netTotal"] for line in await lines(api, second)] == ["100.00", "55.00"]


async def test_a_line_carries_the_arithmetic_behind_it(api: Any, invoicer: Invoicer) -> None:
    calls = await company.metric(api)
    await company.contract(api, [company.linear("0.10", calls)], start="2025-02-01")
    await api.post("/usage-events", [company.event(f"e{n}", "2025-02-28T23:59:59.999999Z") for n in range(3)])
    await api.aggregate()

    await bill_all(invoicer)

    (line,) = await lines(api, (await invoices(api))[0])
    assert line["explanation"] == {
        "kind": "LINEAR",
        "reading": {
            "metricId": calls,
            "metricVersion": 1,
            "period": {"start": "2025-02-01", "end": "2025-03-01"},
            "eventCount": 3,
            "quantity": "3",
        },
        "rate": "0.1",
        "amount": "0.3",
    }
    assert line["servicePeriod"] == {"startDate": "2025-02-01", "endDate": "2025-02-28"}


async def test_billing_again_what_was_billed_creates_nothing(api: Any, invoicer: Invoicer) -> None:
    await company.contract(api, [company.fixed("500")], start="2025-01-01")
    await bill_all(invoicer)
    before = await invoices(api)

    assert await bill_all(invoicer) == 0

    assert await invoices(api) == before


async def test_nothing_is_billed_before_it_is_due(api: Any, invoicer: Invoicer) -> None:
    await company.contract(api, [company.fixed("500")], start="2025-03-01")

    assert await bill_all(invoicer, datetime(2025, 3, 31, 23, 59, 59, tzinfo=UTC)) == 0
    assert await bill_all(invoicer, datetime(2025, 4, 1, tzinfo=UTC)) == 1


async def test_a_run_waits_for_usage_that_was_accepted_before_it(api: Any, invoicer: Invoicer) -> None:
    calls = await company.metric(api)
    await api.post("/usage-events", [company.event(f"e{n}", "2025-02-10T00:00:00Z") for n in range(10)])
    await company.contract(api, [company.linear("1", calls)], start="2025-02-01")

    run = asyncio.create_task(bill_all(invoicer))
    await api.aggregate()
    await run

    assert [i["netTotal"] for i in await invoices(api)] == ["10.00"]


async def test_usage_that_nobody_counts_parks_the_schedule_for_a_moment(api: Any, pool: Pool, redis: Redis) -> None:
    calls = await company.metric(api)
    await company.contract(api, [company.linear("1", calls)], start="2025-02-01")
    await api.post("/usage-events", company.event("e", "2025-02-10T00:00:00Z"))
    impatient = Invoicer(pool, ends=lambda: stream.ends(redis, stream.names(1)), counted_wait_seconds=0.05)

    await impatient.step(NOW)

    parked = (await pool.fetchrow("select parked_reason, parked_until from billing_schedule")) or {}
    assert parked["parked_reason"] == "USAGE_NOT_COUNTED"
    assert await invoices(api) == []
    await api.aggregate()
    await bill_all(impatient, parked["parked_until"])
    assert [i["netTotal"] for i in await invoices(api)] == ["1.00"]


async def test_two_runs_at_once_share_the_work_and_bill_nothing_twice(api: Any, pool: Pool, redis: Redis) -> None:
    for n in range(30):
        await company.contract(api, [company.fixed("500")], start="2025-01-01", alias=f"customer-{n}")
    both = [Invoicer(pool, ends=lambda: stream.ends(redis, stream.names(1))) for _ in range(2)]

    await asyncio.gather(*(bill_all(one) for one in both))

    assert len(await invoices(api)) == 60


async def test_a_charge_that_a_live_invoice_has_is_not_billed_again_and_stops_nobody(
    api: Any, conn: Connection, invoicer: Invoicer
) -> None:
    offender = await company.contract(api, [company.fixed("500")], start="2025-02-01", alias="offender")
    await bill_all(invoicer)
    await company.contract(api, [company.fixed("7")], start="2025-02-01", alias="innocent")
    await conn.execute(DUE_AGAIN, offender)

    await bill_all(invoicer)

    assert [i["netTotal"] for i in await invoices(api)] == ["500.00", "7.00"]
    assert await conn.fetchval(PARKED, offender) == "ALREADY_BILLED"


async def test_a_schedule_that_rating_refuses_is_parked_with_its_reason(
    api: Any, conn: Connection, invoicer: Invoicer
) -> None:
    refused = await company.contract(api, [company.fixed("99999999999999999999")], start="2025-02-01", alias="whale")
    await company.contract(api, [company.fixed("7")], start="2025-02-01", alias="innocent")

    await bill_all(invoicer)

    assert [i["netTotal"] for i in await invoices(api)] == ["7.00"]
    assert await conn.fetchval(PARKED, refused) == "AMOUNT_TOO_LARGE"


async def test_usage_follows_the_alias_to_its_owner_at_the_time(api: Any, invoicer: Invoicer) -> None:
    calls = await company.metric(api)
    seller = await company.customer(api, "seller")
    alias = await api.made("/customer-aliases", {"customerId": seller, "value": "machine"})
    api.clock.now = datetime(2025, 2, 15, 8, 7, 6, tzinfo=UTC)
    await api.delete(f"/customer-aliases/{alias['id']}")
    buyer = await company.customer(api, "buyer")
    await api.made("/customer-aliases", {"customerId": buyer, "value": "machine"})
    api.clock.now = NOW
    times = ["2025-02-15T08:07:05.999999Z", "2025-02-15T08:07:06Z", "2025-02-20T00:00:00Z"]
    await api.post("/usage-events", [company.event(at, at, alias="machine") for at in times])
    await api.aggregate()
    usage = await company.price(api, company.linear("1", calls))
    for customer in (seller, buyer):
        await company.schedule(api, customer, [usage], start="2025-02-01")

    await bill_all(invoicer)

    totals = {i["customerId"]: i["netTotal"] for i in await invoices(api)}
    assert totals == {seller: "1.00", buyer: "2.00"}


async def test_a_metric_that_counts_its_history_is_waited_for(
    api: Any, conn: Connection, invoicer: Invoicer, pool: Pool
) -> None:
    calls = await company.metric(api)
    schedule = await company.contract(api, [company.linear("1", calls)], start="2025-02-01")
    await api.post("/usage-events", [company.event("a", "2025-02-10T00:00:00Z")])
    await api.aggregate()
    await conn.execute("truncate usage_slot, usage_day")
    await conn.execute("update usage_metric_version set folded_to = 0, born_no = 1::bigint << 40")

    await invoicer.step(NOW)
    parked = await conn.fetchval(PARKED, UUID(schedule))
    await History(pool).step()
    await bill_all(invoicer, NOW + UNCOUNTED_RETRY)

    assert parked == "METRIC_COUNTING"
    assert [one["netTotal"] for one in await invoices(api)] == ["1.00"]
