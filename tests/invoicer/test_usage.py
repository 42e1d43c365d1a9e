"""Usage that prices ask for in more detail: by group, by event, and of whole families."""

from datetime import UTC, datetime
from typing import Any

import pytest

from store.db import Connection
from tests import company

PARKED = "select parked_reason from billing_schedule where id = $1"
NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
GROUPED = {"metricType": "GROUPED", "groupingProperty": "region"}


async def sent(api: Any, *events: dict[str, Any], alias: str = "acme", day: str = "2025-02-10") -> None:
    """Events with these properties; `at` is the hour of the day."""
    named = [
        company.event(f"{alias}-{day}-{n}", f"{day}T{properties.pop('at', '10:00')}:00Z", alias=alias, **properties)
        for n, properties in enumerate(map(dict, events))
    ]
    await api.post("/usage-events", named)
    await api.aggregate()


async def shown(api: Any) -> list[tuple[Any, ...]]:
    """The lines of the one invoice of February: what they are about, how much, and what they come to."""
    await api.invoice(NOON)
    (invoice,) = await company.invoices(api)
    assert invoice["accountingDate"] == "2025-03-01"
    return [
        (line["description"], line["quantity"], line["rate"], line["netTotal"])
        for line in await company.lines(api, invoice)
    ]


async def by_region(api: Any, metric: str, **groups: str) -> str:
    """A contract at 1 each, with these groups at rates of their own."""
    price = await company.price(api, company.linear("1", metric), pricesByGroup=groups)
    return await company.schedule(api, await company.customer(api), [price], start="2025-02-01")


async def test_each_group_is_a_line_at_its_rate_and_others_pay_the_rate_of_the_price(api: Any) -> None:
    await by_region(api, await company.metric(api, **GROUPED), eu="0.10", us="0.25")
    regions = [*["eu"] * 20, *["us"] * 4, *["asia"] * 2, 7]
    await sent(api, *({"region": region} for region in regions), {"region": None}, {})

    assert await shown(api) == [
        (None, "2", "1", "2.00"),
        ("7", "1", "1", "1.00"),
        ("asia", "2", "1", "2.00"),
        ("eu", "20", "0.1", "2.00"),
        ("us", "4", "0.25", "1.00"),
    ]
    (invoice,) = await company.invoices(api)
    readings = [line["explanation"]["reading"] for line in await company.lines(api, invoice)]
    assert [(one.get("group"), one["eventCount"]) for one in readings] == [
        *(("", 2), ("7", 1), ("asia", 2), ("eu", 20), ("us", 4))
    ]


async def test_events_without_a_group_have_a_rate_too(api: Any) -> None:
    metric = await company.metric(api, **GROUPED)
    price = await company.price(api, company.linear("1", metric), pricesByGroup={"": "5"})
    await company.schedule(api, await company.customer(api), [price], start="2025-02-01")
    await sent(api, {}, {"region": "eu"})

    assert await shown(api) == [(None, "1", "5", "5.00"), ("eu", "1", "1", "1.00")]


async def test_without_usage_there_is_one_line_of_zero(api: Any) -> None:
    await by_region(api, await company.metric(api, **GROUPED), eu="0.10")

    assert await shown(api) == [(None, "0", "1", "0.00")]


async def test_groups_of_several_properties_are_one_name(api: Any) -> None:
    changes = {"aggregationType": "SUM", "aggregationProperty": "tokens"}
    metric = await company.metric(api, metricType="GROUPED", groupBy=["model", "direction"], **changes)
    await by_region(api, metric, **{"large / in": "0.50", "large / ": "0.25"})
    uses = [("large", "in", 10), ("large", "out", 3), ("large", None, 4), ("small", "in", 2), (None, None, 1)]
    await sent(api, *({"model": model, "direction": way, "tokens": tokens} for model, way, tokens in uses))

    assert await shown(api) == [
        (None, "1", "1", "1.00"),
        ("large / ", "4", "0.25", "1.00"),
        ("large / in", "10", "0.5", "5.00"),
        ("large / out", "3", "1", "3.00"),
        ("small / in", "2", "1", "2.00"),
    ]


async def test_levels_of_groups_add_up_in_their_last_digit(api: Any) -> None:
    changes = {"aggregationType": "WEIGHTED", "aggregationProperty": "gb"}
    await by_region(api, await company.metric(api, **GROUPED, **changes), eu="2")
    # Levels over 7 minutes and less do not divide into hours.
    levels = [("eu", 1, "10:00"), ("eu", 0, "10:07"), ("us", 1, "10:00"), ("us", 0, "10:31")]
    await sent(api, *({"region": region, "gb": level, "at": at} for region, level, at in levels))

    assert [(line[0], line[3]) for line in await shown(api)] == [("eu", "0.23"), ("us", "0.52")]


async def test_groups_of_a_family_are_rolled_up(api: Any) -> None:
    price = await company.price(
        api, company.linear("1", await company.metric(api, **GROUPED)), pricesByGroup={"eu": "0.5"}
    )
    parent = await company.customer(api, "parent")
    await company.customer(api, "child", parentId=parent)
    await company.schedule(api, parent, [price], start="2025-02-01", rollUpBilling=True)
    await sent(api, *[{"region": "eu"}] * 3, {"region": "us"}, alias="parent")
    await sent(api, *[{"region": "eu"}] * 2, alias="child")

    assert await shown(api) == [("eu", "5", "0.5", "2.50"), ("us", "1", "1", "1.00")]


async def test_a_metric_that_counts_apart_no_more_parks_its_prices_by_group(api: Any, conn: Connection) -> None:
    metric = await company.metric(api, **GROUPED)
    schedule = await by_region(api, metric, eu="0.10")
    body = {"name": "calls", "metricType": "SIMPLE", "eventType": "calls", "aggregationType": "COUNT"}
    assert (await api.put(f"/usage-metrics/{metric}", body)).status == 200
    await api.aggregate()

    await api.invoice(NOON)

    assert await company.invoices(api) == []
    assert await conn.fetchval(PARKED, schedule) == "MISSING_USAGE"


# Fees of single events


def bounded(metric: str, low: str | None = "1.00", high: str | None = "10.00", rate: str = "0.02") -> dict[str, Any]:
    tier = {"price": rate, "isPricePercentage": True, "minPrice": low, "maxPrice": high}
    return {"pricingType": "VOLUME", "usageMetricId": metric, "tiers": [tier]}


# The fee's rate and bounds, the payments, and what they come to.
FEES = {
    "case 4": (("1.00", "10.00", "0.02"), ["25", "100", "750"], "13.00"),
    "case 4, in prose": (("1.00", "10.00", "0.02"), ["25", "100", "500"], "13.00"),
    "case 5": (("1", "10", "0.005"), ["100", "1000", "5000"], "16.00"),
    "case 8": ((None, "5", "0.002"), ["1000", "4000"], "7.00"),
    "at the lower bound, and on both sides": (("1", None, "0.01"), ["99.99", "100", "101"], "3.01"),
    "at the upper bound, and on both sides": ((None, "1", "0.01"), ["99", "100", "100.01"], "2.99"),
    "the same amount many times": (("1", None, "0.01"), ["50"] * 30, "30.00"),
    "numbers of more digits than a float has": ((None, "9", "1"), ["0.000000000000000001"] * 3, "0.00"),
    "nothing": (("1", None, "0.01"), [], "0.00"),
}


async def test_bounds_clamp_the_fee_of_each_event_of_many_bills_in_one_run(api: Any) -> None:
    metric = await company.metric(api, aggregationType="SUM", aggregationProperty="amount")
    schedules = {}
    for name, (terms, payments, _) in FEES.items():
        price = await company.price(api, bounded(metric, *terms))
        schedules[name] = await company.schedule(api, await company.customer(api, name), [price], start="2025-02-01")
        if payments:
            await sent(api, *({"amount": amount} for amount in payments), alias=name)
    await sent(api, {"amount": 1_000}, alias="case 4", day="2025-03-01")

    await api.invoice(NOON)

    totals = {one["billingScheduleId"]: one["netTotal"] for one in await company.invoices(api)}
    assert {name: totals[schedule] for name, schedule in schedules.items()} == {
        name: total for name, (_, _, total) in FEES.items()
    }


async def test_amounts_of_corrected_and_cancelled_events_are_those_that_stand(api: Any) -> None:
    metric = await company.metric(api, aggregationType="SUM", aggregationProperty="amount")
    await company.contract(api, [bounded(metric)], start="2025-02-01")
    await sent(api, {"amount": 25}, {"amount": 750})
    await api.post("/usage-events", company.event("acme-2025-02-10-1", "2025-02-10T10:00:00Z", amount=100))
    wrong = await api.made("/usage-events", company.event("wrong", "2025-02-10T10:00:00Z", amount=750))
    await api.aggregate()
    await api.delete(f"/usage-events/{wrong['id']}")
    await api.aggregate()

    assert [line[-1] for line in await shown(api)] == ["3.00"]


async def test_events_of_a_family_are_clamped_one_by_one(api: Any) -> None:
    metric = await company.metric(api, aggregationType="SUM", aggregationProperty="amount")
    price = await company.price(api, bounded(metric))
    parent = await company.customer(api, "parent")
    await company.customer(api, "child", parentId=parent)
    await company.schedule(api, parent, [price], start="2025-02-01", rollUpBilling=True)
    await sent(api, {"amount": 25}, alias="parent")
    await sent(api, {"amount": 25}, {"amount": 750}, alias="child")

    assert [line[-1] for line in await shown(api)] == ["12.00"]


async def test_on_demand_each_day_has_the_fees_of_its_events(api: Any) -> None:
    metric = await company.metric(api, aggregationType="SUM", aggregationProperty="amount")
    price = await company.price(api, bounded(metric), billingFrequency="ON_DEMAND")
    await company.schedule(api, await company.customer(api), [price], start="2025-02-01")
    await sent(api, {"amount": 25}, {"amount": 100})
    await sent(api, {"amount": 750}, day="2025-02-12")

    await api.invoice(NOON)

    found = [(one["accountingDate"], one["netTotal"]) for one in await company.invoices(api)]
    assert found == [("2025-02-11", "3.00"), ("2025-02-13", "10.00")]


async def test_counted_events_have_the_amount_of_one_each(api: Any) -> None:
    await company.contract(api, [bounded(await company.metric(api), "0.05", None)], start="2025-02-01")
    await sent(api, {}, {}, {})

    assert [line[-1] for line in await shown(api)] == ["0.15"]


# Families

# A metric, what the parent and its two children send, and what is billed at 1 each.
FAMILIES = {
    "values are merged": ("UNIQUE", [["a", "b"], ["b", "c"], ["c"]], "3.00"),
    "all the same": ("UNIQUE", [["a"], ["a"], ["a"]], "1.00"),
    "all different": ("UNIQUE", [["a"], ["b"], ["c"]], "3.00"),
    "some use nothing": ("UNIQUE", [[], ["a"], ["a"]], "1.00"),
    "sums add up": ("SUM", [[1, 2], [2, 3], [3]], "11.00"),
    "peaks add up": ("MAX", [[1, 2], [2, 3], [3]], "8.00"),
    "last levels add up": ("LATEST", [[5, 2], [2], [3]], "7.00"),
}


@pytest.mark.parametrize("rolls_up", [True, False])
async def test_what_a_family_used_is_billed_to_its_head(api: Any, rolls_up: bool) -> None:
    schedules, totals = {}, {}
    for number, (name, (aggregation, used, total)) in enumerate(FAMILIES.items()):
        metric = await company.metric(
            api, name, eventType="calls", aggregationType=aggregation, aggregationProperty="used"
        )
        price = await company.price(api, company.linear("1", metric))
        parent = await company.customer(api, f"{number}-0")
        for child in (1, 2):
            await company.customer(api, f"{number}-{child}", parentId=parent)
        for child, values in enumerate(used):
            if values:
                events = ({"used": value, "at": f"10:0{place}"} for place, value in enumerate(values))
                await sent(api, *events, alias=f"{number}-{child}")
        schedules[name] = await company.schedule(api, parent, [price], start="2025-02-01", rollUpBilling=rolls_up)
        totals[name] = total

    await api.invoice(NOON)

    found = {one["billingScheduleId"]: one for one in await company.invoices(api)}
    if rolls_up:
        assert {name: found[schedule]["netTotal"] for name, schedule in schedules.items()} == totals
        (line,) = await company.lines(api, found[schedules["values are merged"]])
        reading = line["explanation"]["reading"]
        assert (reading["quantity"], reading["eventCount"]) == ("3", 5)
        assert sorted(share["quantity"] for share in reading["customers"]) == ["1", "2", "2"]
    else:
        own = {"values are merged": "2.00", "sums add up": "3.00", "last levels add up": "2.00"}
        assert {name: found[schedules[name]]["netTotal"] for name in own} == own


async def test_values_of_earlier_months_of_a_ladder_are_merged_too(api: Any) -> None:
    metric = await company.metric(api, aggregationType="UNIQUE", aggregationProperty="user")
    tiers = [{"price": "1", "isPricePercentage": False}]
    ladder = {"pricingType": "GRADUATED", "usageMetricId": metric, "usageCalculationMode": "CUMULATIVE", "tiers": tiers}
    price = await company.price(api, ladder)
    parent = await company.customer(api, "parent")
    await company.customer(api, "child", parentId=parent)
    await company.schedule(api, parent, [price], start="2025-01-01", endDate="2025-02-28", rollUpBilling=True)
    await sent(api, {"user": "a"}, {"user": "b"}, alias="parent", day="2025-01-10")
    await sent(api, {"user": "b"}, alias="child", day="2025-01-10")
    await sent(api, {"user": "a"}, {"user": "c"}, alias="child")

    await api.invoice(NOON)

    assert [one["netTotal"] for one in await company.invoices(api)] == ["2.00", "1.00"]
