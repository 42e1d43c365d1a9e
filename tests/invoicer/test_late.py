"""Late usage: what is final never changes, and the difference is billed once, on the next invoice."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from invoicer.run import REVIEW_INTERVAL, Invoicer
from meter import stream
from store.account import Principal
from store.db import Connection, Pool
from tests import company
from tests.api import bodies
from tests.invoicer.test_case import TIERS, at, phased, used
from tests.invoicer.test_grant import granted

FEBRUARY, MARCH, APRIL = at("2025-02-01"), at("2025-03-01"), at("2025-04-01")


async def due(api: Any, now: datetime) -> list[dict[str, Any]]:
    """All invoices after a run at that instant."""
    await api.invoice(now)
    return await company.invoices(api)


async def finalized(api: Any, *invoices: dict[str, Any]) -> None:
    for one in invoices:
        await api.made(f"/invoices/{one['id']}/finalize", None)


async def late_lines(api: Any, invoice: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Of an invoice the differences: where their service period begins, the net and the tax."""
    return [
        (line["servicePeriod"]["startDate"], line["netTotal"], line["totalTax"])
        for line in await company.lines(api, invoice)
        if line["kind"] == "LATE_USAGE"
    ]


async def contract(api: Any, rate: str = "1", start: str = "2025-01-01", **changes: Any) -> str:
    calls = await company.metric(api)
    return await company.contract(api, [company.linear(rate, calls)], start=start, **changes)


async def test_usage_after_a_final_invoice_is_a_difference_on_the_next(api: Any) -> None:
    await contract(api)
    await used(api, "2025-01-10", 10)
    (january,) = await due(api, FEBRUARY)
    await finalized(api, january)
    before = (await api.get(f"/invoices/{january['id']}")).body, await company.lines(api, january)
    await used(api, "2025-01-20", 5)
    await used(api, "2025-02-10", 2)

    _, february = await due(api, MARCH)

    assert february["netTotal"] == "7.00"
    assert await late_lines(api, february) == [("2025-01-01", "5.00", "0.00")]
    (late,) = [line for line in await company.lines(api, february) if line["kind"] == "LATE_USAGE"]
    assert late["explanation"] == {"kind": "LATE_USAGE", "billed": "10", "due": "15"}
    groups = (await api.get(f"/invoices/{february['id']}/line-item-groups")).body["items"]
    assert [(group["title"], group["netTotal"]) for group in groups] == [
        ("Linear product", "2.00"),
        ("Late usage", "5.00"),
    ]
    after = (await api.get(f"/invoices/{january['id']}")).body, await company.lines(api, january)
    assert before == after


async def test_a_difference_is_billed_once_however_often_is_looked(api: Any) -> None:
    await contract(api)
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    await used(api, "2025-01-20", 5)
    await finalized(api, (await due(api, MARCH))[1])
    await used(api, "2025-01-21", 3)

    *_, march = await due(api, APRIL)

    assert await late_lines(api, march) == [("2025-01-01", "3.00", "0.00")]
    assert march["netTotal"] == "3.00"


async def test_usage_taken_back_becomes_a_draft_to_credit_that_is_never_issued(api: Any) -> None:
    await contract(api)
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    names = [f"2025-01-10-{n}" for n in range(4)]
    for name in names:
        await api.delete(f"/usage-events/{name}")
    await api.aggregate()
    await used(api, "2025-02-10", 2)

    _, february, credit = await due(api, MARCH)

    assert (february["netTotal"], credit["netTotal"]) == ("2.00", "-4.00")
    assert [one["code"] for one in credit["warnings"]] == ["TAX_RATE_MISSING", "CREDIT_DUE"]
    assert (await api.post(f"/invoices/{credit['id']}/finalize")).codes == ["INVOICE_NEGATIVE"]
    assert (await api.get(f"/invoices/{credit['id']}")).body["status"] == "DRAFT"
    assert len(await due(api, APRIL)) == 4


async def test_a_correction_changes_the_amount_of_a_billed_period(api: Any) -> None:
    paid = await company.metric(api, aggregationType="SUM", aggregationProperty="amount")
    await company.contract(api, [company.linear("0.10", paid)], start="2025-01-01")
    await api.post("/usage-events", company.event("a", "2025-01-10T00:00:00Z", amount=100))
    await api.aggregate()
    await finalized(api, *await due(api, FEBRUARY))
    await api.post("/usage-events", company.event("a", "2025-01-10T00:00:00Z", amount=250))
    await api.aggregate()

    _, february = await due(api, MARCH)

    assert await late_lines(api, february) == [("2025-01-01", "15.00", "0.00")]


async def test_on_a_ladder_every_later_bill_has_a_difference_of_its_own(api: Any) -> None:
    calls = await company.metric(api)
    ladder = {"pricingType": "GRADUATED", "usageMetricId": calls, "usageCalculationMode": "CUMULATIVE", "tiers": TIERS}
    await company.contract(api, [ladder], start="2025-01-01")
    await used(api, "2025-01-10", 90)
    await finalized(api, *await due(api, FEBRUARY))
    await used(api, "2025-02-10", 20)
    await finalized(api, (await due(api, MARCH))[1])
    await used(api, "2025-01-11", 20)

    _, _, march, *credits_ = await due(api, APRIL)

    assert await late_lines(api, march) == [("2025-01-01", "67.50", "0.00")]
    assert [await late_lines(api, one) for one in credits_] == [[("2025-02-01", "-52.50", "0.00")]]


async def test_a_billed_period_keeps_its_metric_version_and_tax_rate(api: Any) -> None:
    rates = {"name": "VAT", "invoiceName": "VAT", "invoiceShortName": "VAT", "isPublished": True, "country": "GB"}
    rate = await api.made("/tax-rates", {**rates, "amount": "0.2"})
    paid = await company.metric(api, aggregationType="SUM", aggregationProperty="amount")
    await company.contract(api, [company.linear("1", paid)], start="2025-01-01")
    await api.post("/usage-events", company.event("a", "2025-01-10T00:00:00Z", amount=10))
    await api.aggregate()
    await finalized(api, *await due(api, FEBRUARY))
    named = {"name": "calls", "metricType": "SIMPLE", "eventType": "calls"}
    await api.put(f"/usage-metrics/{paid}", {**named, "aggregationType": "COUNT"})
    await api.put(f"/tax-rates/{rate['id']}", {**rates, "id": rate["id"], "amount": "0.5"})
    await api.post("/usage-events", company.event("b", "2025-01-11T00:00:00Z", amount=30))
    await api.post("/usage-events", company.event("c", "2025-02-11T00:00:00Z", amount=40))
    await api.aggregate()

    _, february = await due(api, MARCH)

    assert await late_lines(api, february) == [("2025-01-01", "30.00", "6.00")]
    assert (february["netTotal"], february["totalTax"]) == ("31.00", "6.50")


async def test_the_difference_draws_on_what_is_left_of_a_grant(api: Any, account: Principal) -> None:
    await contract(api)
    who = (await api.get("/customers")).body["items"][0]["id"]
    await granted(api, account, who, amount=12, effectiveDate="2025-01-01")
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    await used(api, "2025-01-20", 5)
    await used(api, "2025-02-10", 4)

    _, february = await due(api, MARCH)

    # Two are left for January's five; nothing for February's four.
    assert [net for _, net, _ in await late_lines(api, february)] == ["5.00", "-2.00"]
    assert february["netTotal"] == "7.00"
    (balance,) = (await api.get(f"/credits/{who}/balances")).body["items"]
    assert balance["balance"] == "0"


async def test_usage_taken_back_gives_its_credit_back(api: Any, account: Principal) -> None:
    await contract(api)
    who = (await api.get("/customers")).body["items"][0]["id"]
    await granted(api, account, who, amount=12, effectiveDate="2025-01-01")
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    await api.delete("/usage-events/2025-01-10-0")
    await api.aggregate()

    found = await due(api, MARCH)

    (balance,) = (await api.get(f"/credits/{who}/balances")).body["items"]
    assert balance["balance"] == "3"
    assert [one["netTotal"] for one in found] == ["0.00", "0.00"]


async def test_a_draft_is_calculated_again_by_itself(api: Any) -> None:
    await contract(api)
    await used(api, "2025-01-10", 10)
    (draft,) = await due(api, FEBRUARY)
    await used(api, "2025-01-20", 5)
    later = FEBRUARY + REVIEW_INTERVAL

    (again,) = await due(api, later)

    assert (draft["netTotal"], again["netTotal"], again["id"]) == ("10.00", "15.00", draft["id"])
    assert again["calculatedAt"] == "2025-02-01T13:00:00Z"
    assert await late_lines(api, again) == []


async def test_a_draft_that_is_recalculated_keeps_the_differences_that_stand_on_it(api: Any) -> None:
    await contract(api)
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    await used(api, "2025-01-20", 5)
    _, draft = await due(api, MARCH)
    await used(api, "2025-02-20", 4)

    _, again = await due(api, MARCH + REVIEW_INTERVAL)

    assert (draft["netTotal"], again["netTotal"]) == ("5.00", "9.00")
    assert await late_lines(api, again) == [("2025-01-01", "5.00", "0.00")]


async def test_when_nothing_follows_the_difference_has_an_invoice_of_its_own(api: Any) -> None:
    await contract(api, endDate="2025-01-31")
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    await used(api, "2025-01-20", 5)

    _, own = await due(api, FEBRUARY + REVIEW_INTERVAL)

    assert (own["netTotal"], await late_lines(api, own)) == ("5.00", [("2025-01-01", "5.00", "0.00")])
    assert own["billingPeriod"] == {"start": "2025-01-01", "endInclusive": "2025-01-31"}
    assert len(await due(api, FEBRUARY + 2 * REVIEW_INTERVAL)) == 2


async def test_a_voided_invoice_takes_its_differences_back_and_the_next_run_finds_them(api: Any) -> None:
    await contract(api)
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    await used(api, "2025-01-20", 5)
    _, february = await due(api, MARCH)
    await api.made(f"/invoices/{february['id']}/void", None)

    *_, march = await due(api, APRIL)

    assert await late_lines(api, march) == [("2025-01-01", "5.00", "0.00")]


async def test_late_usage_of_a_voided_invoice_is_not_billed(api: Any) -> None:
    await contract(api)
    await used(api, "2025-01-10", 10)
    (january,) = await due(api, FEBRUARY)
    await api.made(f"/invoices/{january['id']}/void", None)
    await used(api, "2025-01-20", 5)
    await used(api, "2025-02-20", 2)

    _, february = await due(api, MARCH)

    assert february["netTotal"] == "2.00"


async def test_usage_before_the_window_is_not_looked_at(api: Any, pool: Pool, redis: Redis) -> None:
    await contract(api)
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    await used(api, "2025-02-10", 1)
    await finalized(api, (await due(api, MARCH))[1])
    await used(api, "2025-01-20", 5)
    await used(api, "2025-02-20", 2)
    short = Invoicer(pool, ends=lambda: stream.ends(redis, stream.names(1)), late_usage_days=5)

    await short.step(APRIL)

    *_, march = await company.invoices(api)
    assert await late_lines(api, march) == [("2025-02-01", "2.00", "0.00")]


@pytest.mark.slow
async def test_two_runs_at_once_bill_a_difference_once(api: Any, pool: Pool, redis: Redis, conn: Connection) -> None:
    calls = await company.metric(api)
    for n in range(6):
        await company.contract(api, [company.linear("1", calls)], start="2025-01-01", alias=f"c{n}")
    await api.invoice(FEBRUARY)
    await finalized(api, *await company.invoices(api))
    late = [company.event(f"late-{n}", "2025-01-20T00:00:00Z", alias=f"c{n}") for n in range(6)]
    await api.post("/usage-events", late)
    await api.aggregate()
    runs = [Invoicer(pool, ends=lambda: stream.ends(redis, stream.names(1))) for _ in range(3)]

    await asyncio.gather(*(one.step(MARCH) for one in runs))
    await api.invoice(MARCH)

    kinds = await conn.fetchval("select count(*) from invoice_line where kind = 'LATE_USAGE'")
    total = await conn.fetchval("select sum(net_minor) from invoice_line")
    assert (kinds, total) == (6, Decimal(600))


async def test_phases_with_grants_share_what_is_left_over_old_and_new_bills(api: Any) -> None:
    calls = await company.metric(api)
    usage = await company.price(api, company.linear("1", calls))
    grant = {
        "name": "Included",
        "creditUnitType": "CURRENCY",
        "currency": "USD",
        "amount": 12,
        "grantRefreshFrequency": "NONE",
        "rolloverMode": "ON_GRANT_REFRESH_AND_PHASE",
    }
    await phased(api, company.phase([usage], "2025-01-01", creditGrants=[grant]))
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    await used(api, "2025-01-20", 1)
    await used(api, "2025-02-10", 9)

    _, february = await due(api, MARCH)

    assert february["netTotal"] == "8.00"
    assert [one["amount"] for one in february["projectedCreditGrants"]] == ["2.00"]


async def test_late_usage_of_a_period_is_rated_with_the_prices_it_had(api: Any) -> None:
    calls = await company.metric(api)
    old, new = [await company.price(api, company.linear(rate, calls)) for rate in ("1", "100")]
    who = await company.customer(api)
    schedule = await company.schedule(api, who, [old], start="2025-01-01")
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    api.clock.now = FEBRUARY
    asked = bodies.changed((await api.get(f"/billing-schedules/{schedule}")).body)
    asked["phases"][0]["priceIds"] = [new]
    changed = await api.put(f"/billing-schedules/{schedule}", asked)
    api.clock.now = MARCH
    await used(api, "2025-01-20", 5)
    await used(api, "2025-02-10", 2)

    _, february = await due(api, MARCH)

    assert changed.status == 200
    assert await late_lines(api, february) == [("2025-01-01", "5.00", "0.00")]
    assert february["netTotal"] == "205.00"
    assert (await api.delete(f"/prices/{old}")).codes == ["PRICE_IN_USE"]


async def test_a_child_that_joins_later_brings_no_late_usage_along(api: Any) -> None:
    calls = await company.metric(api)
    usage = await company.price(api, company.linear("1", calls))
    parent = await company.customer(api, "parent")
    await company.customer(api, "child", parentId=parent)
    await company.schedule(api, parent, [usage], start="2025-01-01", rollUpBilling=True)
    names = [company.event(alias, "2025-01-10T00:00:00Z", alias=alias) for alias in ("child", "other")]
    await api.post("/usage-events", names)
    await api.aggregate()
    await finalized(api, *await due(api, FEBRUARY))
    await company.customer(api, "other", parentId=parent)
    await api.post("/usage-events", company.event("late", "2025-01-20T00:00:00Z", alias="child"))
    await api.aggregate()

    january, february = await due(api, MARCH)

    assert january["netTotal"] == "1.00"
    assert await late_lines(api, february) == [("2025-01-01", "1.00", "0.00")]


async def test_a_run_that_dies_before_the_commit_leaves_nothing(
    api: Any, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await contract(api)
    await used(api, "2025-01-10", 10)
    await finalized(api, *await due(api, FEBRUARY))
    await used(api, "2025-01-20", 5)

    async def dies(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as broken:
        broken.setattr("store.due.advance", dies)
        with pytest.raises(asyncio.CancelledError):
            await api.invoice(MARCH)
    left = await conn.fetchval("select count(*) from invoice")
    *_, february = await due(api, MARCH)

    assert left == 1
    assert await late_lines(api, february) == [("2025-01-01", "5.00", "0.00")]


async def test_the_clock_of_a_run_is_the_one_it_is_told(api: Any) -> None:
    await contract(api)
    (january,) = await due(api, datetime(2025, 2, 1, tzinfo=UTC))

    assert january["calculatedAt"] == "2025-02-01T00:00:00Z"
