"""Worked cases from a posted contract over usage to the invoices that are read. Their numbers are the reference's."""

from datetime import UTC, datetime
from typing import Any

from tests import company

TIERS = [
    {"price": "1.00", "fee": "20", "upperBound": "100", "isPricePercentage": False},
    {"price": "0.75", "fee": "50", "isPricePercentage": False},
]
DISCOUNT = {"type": "NOMINAL", "message": "Off", "separateLineItem": True}


def at(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)


async def used(api: Any, day: str, events: int, **properties: Any) -> None:
    """So many events on that day, which are counted."""
    named = [company.event(f"{day}-{n}", f"{day}T10:00:00Z", **properties) for n in range(events)]
    for batch in range(0, events, 2_000):
        await api.post("/usage-events", named[batch : batch + 2_000])
    await api.aggregate()


async def billed(api: Any, now: str) -> list[tuple[str, str]]:
    """All invoices up to that day: when they fell due, and what they come to."""
    await api.invoice(at(now))
    return [(one["accountingDate"], one["netTotal"]) for one in await company.invoices(api)]


async def phased(api: Any, *phases: dict[str, Any], **changes: Any) -> str:
    """A schedule with these phases, of a customer of its own."""
    who = await company.customer(api)
    ends = {"endDate": phases[-1]["endDate"]}
    start = phases[0]["startDate"]
    return await company.schedule(api, who, [], start=start, **ends, phases=list(phases), **changes)


async def test_case_4_bounds_clamp_the_fee_of_each_event(api: Any) -> None:
    paid = await company.metric(api, aggregationType="SUM", aggregationProperty="amount")
    tier = {"price": "0.02", "isPricePercentage": True, "minPrice": "1.00", "maxPrice": "10.00"}
    fees = {"pricingType": "VOLUME", "usageMetricId": paid, "tiers": [tier]}
    await company.contract(api, [fees], start="2025-02-01")
    amounts = [25, 100, 750]
    await api.post(
        "/usage-events",
        [company.event(f"e{n}", f"2025-02-{n + 10}T00:00:00Z", amount=amount) for n, amount in enumerate(amounts)],
    )
    await api.aggregate()

    assert await billed(api, "2025-03-01") == [("2025-03-01", "13.00")]


async def test_case_6_volume_prices_all_units_at_the_tier_they_reach(api: Any) -> None:
    calls = await company.metric(api)
    volume = {"pricingType": "VOLUME", "usageMetricId": calls, "tiers": TIERS}
    await company.contract(api, [volume], start="2025-02-01")
    await used(api, "2025-02-10", 125)

    assert await billed(api, "2025-03-01") == [("2025-03-01", "143.75")]


async def test_case_11_a_package_that_is_begun_is_charged_in_full(api: Any) -> None:
    calls = await company.metric(api)
    package = {"pricingType": "PACKAGE", "usageMetricId": calls, "packageSize": "250", "pricePerPackage": "10"}
    await company.contract(api, [package], start="2025-02-01")
    await used(api, "2025-02-10", 600)

    assert await billed(api, "2025-03-01") == [("2025-03-01", "30.00")]


async def test_case_15_a_plan_minimum_trues_up_the_whole_bill(api: Any) -> None:
    fee = await company.price(api, company.fixed("845"))
    await phased(api, company.phase([fee], "2025-02-01", planMinimum="1000"))

    assert await billed(api, "2025-03-01") == [("2025-03-01", "1000.00")]
    (invoice,) = await company.invoices(api)
    assert [(line["title"], line["netTotal"]) for line in await company.lines(api, invoice)] == [
        ("Fixed price", "845.00"),
        ("True-up charge", "155.00"),
    ]


async def test_case_16_a_usage_minimum_is_reached_with_a_true_up(api: Any) -> None:
    calls = await company.metric(api)
    usage = await company.price(api, company.linear("0.10", calls))
    minimums = [{"amount": 500, "restrictToPrices": [usage]}]
    await phased(api, company.phase([usage], "2025-01-01", minimums=minimums))
    await used(api, "2025-01-10", 3_000)
    await used(api, "2025-02-10", 8_000)

    assert await billed(api, "2025-03-01") == [("2025-02-01", "500.00"), ("2025-03-01", "800.00")]
    first, second = await company.invoices(api)
    assert [line["kind"] for line in await company.lines(api, first)] == ["CHARGE", "TRUE_UP"]
    assert [line["kind"] for line in await company.lines(api, second)] == ["CHARGE"]


async def test_case_25_a_fee_is_prorated_from_its_start(api: Any) -> None:
    await company.contract(api, [company.fixed("500")], start="2023-03-14")

    assert await billed(api, "2023-05-01") == [("2023-04-01", "290.32"), ("2023-05-01", "500.00")]


async def test_case_27_a_backdated_month_is_billed_at_once(api: Any) -> None:
    await company.contract(api, [company.fixed("500")], start="2025-02-01")

    assert await billed(api, "2025-03-01") == [("2025-03-01", "500.00")]
    (invoice,) = await company.invoices(api)
    assert invoice["billingPeriod"] == {"start": "2025-02-01", "endInclusive": "2025-02-28"}


async def test_case_30_advance_and_arrears_share_an_invoice(api: Any) -> None:
    calls = await company.metric(api)
    fee = await company.price(api, company.fixed("100"), billing_type="IN_ADVANCE")
    usage = await company.price(api, company.linear("1", calls))
    await phased(api, company.phase([fee, usage], "2025-01-01", "2025-03-31"))
    for day, events in (("2025-01-10", 1), ("2025-02-10", 2), ("2025-03-10", 3)):
        await used(api, day, events)

    assert await billed(api, "2025-06-01") == [
        ("2025-01-01", "100.00"),
        ("2025-02-01", "101.00"),
        ("2025-03-01", "102.00"),
        ("2025-04-01", "3.00"),
    ]


async def test_case_31_a_ramp_pays_more_in_each_phase(api: Any) -> None:
    prices = [await company.price(api, company.fixed(amount)) for amount in ("1000", "1250", "1562.50")]
    phases = [company.phase([price], f"{2022 + n}-01-01", f"{2022 + n}-12-31") for n, price in enumerate(prices)]
    await phased(api, *phases)

    found = await billed(api, "2025-01-01")

    assert [net for _, net in found] == ["1000.00"] * 12 + ["1250.00"] * 12 + ["1562.50"] * 12


async def test_case_32_periods_continue_over_a_phase_or_begin_anew(api: Any) -> None:
    first = await company.price(api, company.fixed("0"))
    yearly = {"billing_type": "IN_ADVANCE", "billingFrequency": "YEARLY"}
    fee = await company.price(api, company.fixed("365"), **yearly)
    for recurrence, expected in (
        ("CONTINUE_FROM_PREVIOUS_PHASE", [("2025-04-01", "275.00"), ("2026-01-01", "90.00")]),
        ("RESET", [("2025-04-01", "365.00")]),
    ):
        who = await company.customer(api, recurrence)
        second = company.phase([fee], "2025-04-01", "2026-03-31", recurrencePreference=recurrence)
        phases = [company.phase([first], "2025-01-01", "2025-03-31"), second]
        schedule = await company.schedule(api, who, [], start="2025-01-01", endDate="2026-03-31", phases=phases)
        await api.invoice(at("2026-06-01"))
        reply = await api.get(f"/invoices?billingScheduleId={schedule}&sortOrder=ASC")
        found = [(one["accountingDate"], one["netTotal"]) for one in reply.body["items"]]
        assert [one for one in found if one[1] != "0.00"] == expected, recurrence


async def test_case_33_a_milestone_ends_the_pilot(api: Any) -> None:
    pilot = await company.price(
        api, {"pricingType": "ONE_TIME", "price": "12500"}, billing_type="IN_ADVANCE", billingFrequency="ONE_TIME"
    )
    year = await company.price(api, company.fixed("1500"))
    phases = [
        company.phase([pilot], "2025-01-01", milestone={"name": "Success criteria"}),
        company.phase([year], "2025-02-01"),
    ]
    schedule = await phased(api, *phases)
    assert await billed(api, "2025-03-10") == [("2025-01-01", "12500.00")]
    kept = (await api.get(f"/billing-schedules/{schedule}")).body["phases"][0]

    done = await api.post(f"/billing-schedules/{schedule}/phases/{kept['id']}/complete", {"completedOn": "2025-02-28"})

    assert done.body["phases"][0]["milestone"] == {"name": "Success criteria", "completedOn": "2025-02-28"}
    assert (await billed(api, "2025-05-01"))[1:] == [("2025-04-01", "1500.00"), ("2025-05-01", "1500.00")]


async def test_case_34_on_demand_bills_the_days_that_have_usage(api: Any) -> None:
    calls = await company.metric(api)
    ladder = {
        "pricingType": "GRADUATED",
        "usageMetricId": calls,
        "usageCalculationMode": "BILLING_PERIOD",
        "tiers": TIERS,
    }
    usage = await company.price(api, ladder, billingFrequency="ON_DEMAND")
    await phased(api, company.phase([usage], "2025-03-01"))
    await used(api, "2025-03-02", 80)
    await used(api, "2025-03-05", 45)

    assert await billed(api, "2025-03-10") == [("2025-03-03", "100.00"), ("2025-03-06", "88.75")]


async def test_case_36_a_nominal_discount_that_ends_in_a_period_is_scaled(api: Any) -> None:
    fee = await company.price(api, company.fixed("500"))
    discount = {**DISCOUNT, "amount": 50, "validFrom": "2023-06-01", "validTo": "2023-09-15"}
    await phased(api, company.phase([fee], "2023-07-01", "2024-06-30", discounts=[discount]))

    found = await billed(api, "2023-11-01")

    assert [net for _, net in found] == ["450.00", "450.00", "475.00", "500.00"]


async def test_case_59_a_discount_of_the_whole_bill_has_a_group_of_its_own(api: Any) -> None:
    prices = [await company.price(api, company.fixed(amount)) for amount in ("800", "200")]
    await phased(api, company.phase(prices, "2025-02-01", discounts=[{**DISCOUNT, "amount": 100}]))

    assert await billed(api, "2025-03-01") == [("2025-03-01", "900.00")]
    (invoice,) = await company.invoices(api)
    *_, discount = await company.lines(api, invoice)
    groups = (await api.get(f"/invoices/{invoice['id']}/line-item-groups")).body["items"]
    assert [(group["title"], group["netTotal"]) for group in groups][-1] == ("Discounts", "-100.00")
    assert (discount["kind"], discount["priceId"], discount["productId"]) == ("DISCOUNT", None, None)
    assert (discount["netTotal"], discount["explanation"]["base"]) == ("-100.00", "1000")


async def test_a_roll_up_prices_the_usage_of_the_whole_family_once(api: Any) -> None:
    calls = await company.metric(api)
    volume = await company.price(api, {"pricingType": "VOLUME", "usageMetricId": calls, "tiers": TIERS})
    parent = await company.customer(api, "parent")
    child = await company.customer(api, "child", parentId=parent)
    await company.customer(api, "grandchild", parentId=child)
    await company.schedule(api, parent, [volume], start="2025-02-01", rollUpBilling=True)
    for alias, events in (("parent", 25), ("child", 60), ("grandchild", 40)):
        names = [company.event(f"{alias}-{n}", "2025-02-10T00:00:00Z", alias=alias) for n in range(events)]
        await api.post("/usage-events", names)
    await api.aggregate()

    assert await billed(api, "2025-03-01") == [("2025-03-01", "143.75")]
    (invoice,) = await company.invoices(api)
    reading = (await company.lines(api, invoice))[0]["explanation"]["reading"]
    assert sorted(share["quantity"] for share in reading["customers"]) == ["25", "40", "60"]


async def test_a_periodic_ladder_reads_the_usage_before_its_period(api: Any) -> None:
    calls = await company.metric(api)
    ladder = {"pricingType": "GRADUATED", "usageMetricId": calls, "usageCalculationMode": "PERIODIC", "tiers": TIERS}
    window = {"frequency": "MONTHLY", "interval": 3}
    usage = await company.price(api, ladder, usageCalculationPeriod=window)
    await phased(api, company.phase([usage], "2025-01-01"))
    await used(api, "2025-01-10", 150)
    await used(api, "2025-02-10", 100)

    assert await billed(api, "2025-03-01") == [("2025-02-01", "207.50"), ("2025-03-01", "75.00")]


async def test_a_maximum_caps_and_a_commitment_is_paid_and_exceeded(api: Any) -> None:
    calls = await company.metric(api)
    capped = await company.price(api, company.linear("1", calls), maximum="50")
    committed = await company.price(api, company.linear("1", calls), commitment={"amount": "40", "overageRate": "0.50"})
    await phased(api, company.phase([capped, committed], "2025-01-01"))
    await used(api, "2025-01-10", 30)
    await used(api, "2025-02-10", 60)

    assert await billed(api, "2025-03-01") == [("2025-02-01", "70.00"), ("2025-03-01", "100.00")]
