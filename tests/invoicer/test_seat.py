"""Seats from a posted contract over seat events to the invoices that are read. Worked cases are the reference's."""

from datetime import UTC, datetime
from typing import Any

import pytest

from store.db import Connection
from tests import company

YEARLY = {"billingFrequency": "YEARLY"}
ADVANCE = {"billing_type": "IN_ADVANCE"}
# First 15 seats 12 each, further ones 15; and the same with flat fees.
LADDER = [{"price": "12", "upperBound": "15"}, {"price": "15"}]
FEES = [{"price": "10", "fee": "20", "upperBound": "10"}, {"price": "0", "fee": "50"}]


async def agreed(api: Any, *, start: str, end: str, terms: Any = None, **price: Any) -> None:
    """A price by seats, and a schedule of it."""
    amount = price.pop("amount", "15")
    structure = company.seats(await company.seat_metric(api), amount, **(terms or {}))
    made = await company.price(api, structure, **price)
    await company.schedule(api, await company.customer(api), [made], start=start, endDate=end)


async def billed(api: Any, now: str) -> list[tuple[str, str]]:
    """All invoices up to that day: when they fell due, and what they come to."""
    await api.invoice(datetime.fromisoformat(now).replace(hour=12, tzinfo=UTC))
    return [(one["accountingDate"], one["netTotal"]) for one in await company.invoices(api)]


# What the price says, the balances by instant, and what April 2024 comes to.
APRILS = {
    "case 18: no seats": ({"tiers": LADDER}, {}, "0.00"),
    "case 18: the first tier in full": ({"tiers": LADDER}, {"2024-01-01": 15}, "180.00"),
    "case 18: one seat above it": ({"tiers": LADDER}, {"2024-01-01": 16}, "195.00"),
    "case 18: both tiers": ({"tiers": LADDER}, {"2024-01-01": 20}, "255.00"),
    "case 19: added seats pay from their day on": ({}, {"2024-04-18T09:30:00Z": 27}, "175.50"),
    "case 20: fewer than the contracted minimum": ({"contractedMinimumSeats": 100}, {"2024-01-01": 90}, "1500.00"),
    "case 20: as many": ({"contractedMinimumSeats": 100}, {"2024-01-01": 100}, "1500.00"),
    "case 20: one more": ({"contractedMinimumSeats": 100}, {"2024-01-01": 101}, "1515.00"),
    "case 20: none ever reported": ({"contractedMinimumSeats": 100}, {}, "1500.00"),
    "case 21: a seat in the middle of the month": ({}, {"2024-04-16": 1}, "7.50"),
    "case 23: absolute totals": ({}, {"2024-03-18": 120, "2024-03-19": 125, "2024-03-19T01:00:00Z": 124}, "1860.00"),
    "the last instant of the month counts a day": ({}, {"2024-04-30T23:59:59.999999Z": 1}, "0.50"),
    "the first of the next does not": ({}, {"2024-05-01": 1}, "0.00"),
    "the last instant before the month counts all of it": ({}, {"2024-03-31T23:59:59.999999Z": 1}, "15.00"),
    "maximum: for the whole month, removed or not": (
        {"prorationStrategy": "USE_MAXIMUM"},
        {"2024-01-01": 10, "2024-04-11": 20, "2024-04-21": 5},
        "300.00",
    ),
    "increments: removed seats stay": (
        {"prorationStrategy": "PRORATE_INCREMENTS"},
        {"2024-01-01": 10, "2024-04-11": 20, "2024-04-21": 5},
        "250.00",
    ),
    "all changes: every day its balance": (
        {"prorationStrategy": "PRORATE_ALL_CHANGES"},
        {"2024-01-01": 10, "2024-04-11": 20, "2024-04-21": 5},
        "175.00",
    ),
    "maximum: seats of a part of the first day": (
        {"prorationStrategy": "USE_MAXIMUM"},
        {"2024-01-01": 10, "2024-04-01T00:00:00.000001Z": 4},
        "150.00",
    ),
    "maximum: removed as the month begins": (
        {"prorationStrategy": "USE_MAXIMUM"},
        {"2024-01-01": 10, "2024-04-01": 4},
        "60.00",
    ),
    "flat fees: the first tier": ({"tiers": FEES}, {"2024-01-01": 10}, "120.00"),
    "flat fees: both tiers": ({"tiers": FEES}, {"2024-01-01": 11}, "170.00"),
}


async def test_many_months_in_arrears_in_one_run(api: Any) -> None:
    metric = await company.seat_metric(api)
    schedules = {}
    for number, (name, (terms, events, _)) in enumerate(APRILS.items()):
        who, price = (
            await company.customer(api, str(number)),
            await company.price(api, company.seats(metric, **terms)),
        )
        schedules[name] = await company.schedule(api, who, [price], start="2024-04-01", endDate="2024-04-30")
        for when, total in events.items():
            await company.reported(api, total, when, alias=str(number))

    await api.invoice(datetime(2024, 6, 1, tzinfo=UTC))

    totals = {one["billingScheduleId"]: one["netTotal"] for one in await company.invoices(api)}
    assert {name: totals[schedule] for name, schedule in schedules.items()} == {
        name: total for name, (_, _, total) in APRILS.items()
    }


async def test_case_19_the_invoice_shows_seats_days_and_the_rate_of_each(api: Any) -> None:
    await agreed(api, start="2024-04-01", end="2024-05-31")
    await company.reported(api, 27, "2024-04-18T09:30:00Z")

    assert await billed(api, "2024-06-01") == [("2024-05-01", "175.50"), ("2024-06-01", "405.00")]
    april, may = [(await company.lines(api, invoice))[0] for invoice in await company.invoices(api)]
    assert (april["quantity"], april["rate"], april["description"]) == ("27", "6.5", "13 of 30 days")
    assert (may["quantity"], may["rate"], may["description"]) == ("27", "15", None)
    told = {key: april["explanation"][key] for key in ("kind", "over", "upTo", "units", "price", "days", "fullDays")}
    assert told == {"kind": "SEATS", "over": 0, "upTo": 27, "units": "27", "price": "15", "days": 13, "fullDays": 30}


# 100 seats of a year at one a day, and ten more from 2 March on.
OVERAGES = {
    None: [("2024-01-01", "3050.00")],
    "NONE": [("2024-01-01", "3050.00")],
    "YEARLY": [("2024-01-01", "3050.00")],
    "HALF_YEARLY": [("2023-07-01", "1210.00"), ("2024-01-01", "1840.00")],
    "QUARTERLY": [
        *(("2023-04-01", "300.00"), ("2023-07-01", "910.00")),
        *(("2023-10-01", "920.00"), ("2024-01-01", "920.00")),
    ],
}


@pytest.mark.parametrize(("overages", "later"), OVERAGES.items())
async def test_case_22_overages_have_a_frequency_of_their_own(
    api: Any, overages: str | None, later: list[tuple[str, str]]
) -> None:
    terms: dict[str, Any] = {"contractedMinimumSeats": 100}
    terms |= {"overagesBillingFrequency": overages} if overages else {}
    await agreed(api, start="2023-01-01", end="2023-12-31", terms=terms, amount="365", **YEARLY, **ADVANCE)
    await company.reported(api, 100, "2022-12-01")
    await company.reported(api, 110, "2023-03-02")

    assert [one for one in await billed(api, "2024-02-01") if one[1] != "0.00"] == [("2023-01-01", "36500.00"), *later]


async def test_case_22_increments_are_carried_from_one_month_of_the_year_to_the_next(api: Any) -> None:
    terms = {"overagesBillingFrequency": "MONTHLY"}
    await agreed(api, start="2023-01-01", end="2023-12-31", terms=terms, amount="365", **YEARLY, **ADVANCE)
    await company.reported(api, 5, "2022-06-01")
    await company.reported(api, 7, "2023-01-31")
    await company.reported(api, 5, "2023-02-15")

    found = [one for one in await billed(api, "2023-04-01") if one[1] != "0.00"]

    assert found == [
        ("2023-01-01", "1825.00"),
        ("2023-02-01", "2.00"),
        ("2023-03-01", "56.00"),
        ("2023-04-01", "62.00"),
    ]
    *_, march = await company.invoices(api)
    assert [line["description"] for line in await company.lines(api, march)] == ["additional seats, 31 of 365 days"]


async def test_the_most_seats_of_a_month_are_also_those_that_left_on_its_first_day(api: Any) -> None:
    terms = {"prorationStrategy": "USE_MAXIMUM", "overagesBillingFrequency": "MONTHLY"}
    await agreed(api, start="2023-01-01", end="2023-12-31", terms=terms, amount="365", **YEARLY, **ADVANCE)
    await company.reported(api, 5, "2022-06-01")
    await company.reported(api, 7, "2023-01-31")
    await company.reported(api, 5, "2023-02-01T09:00:00Z")

    # Two more for January and for February, none for March.
    found = [one for one in await billed(api, "2023-04-01") if one[1] != "0.00"]
    assert found == [("2023-01-01", "1825.00"), ("2023-02-01", "62.00"), ("2023-03-01", "56.00")]


async def test_in_advance_the_seats_of_the_first_day_are_charged_and_added_ones_when_it_is_over(api: Any) -> None:
    await agreed(api, start="2024-04-01", end="2024-05-31", **ADVANCE)
    await company.reported(api, 10, "2024-04-01T09:00:00Z")
    await company.reported(api, 12, "2024-04-16")

    # 12 x 15 for May, and 2 x 15 x 15 / 30 of April.
    assert await billed(api, "2024-07-01") == [("2024-04-01", "150.00"), ("2024-05-01", "195.00")]


@pytest.mark.parametrize(("is_prorated", "total"), [(False, "120.00"), (True, "85.00")])
async def test_flat_fees_follow_the_days_if_the_price_says_so(api: Any, is_prorated: bool, total: str) -> None:
    await agreed(api, start="2024-04-16", end="2024-04-30", terms={"tiers": FEES, "prorateFlatFees": is_prorated})
    await company.reported(api, 11, "2024-04-01")

    assert await billed(api, "2024-06-01") == [("2024-05-01", total)]


# 100 contracted seats and 20 above them at 10 each: 1000 and 200.
SCOPES = [("INCLUDED_SEATS_ONLY", "1100.00"), ("OVERAGE_SEATS_ONLY", "1180.00"), ("ALL_SEATS", "1080.00")]


@pytest.mark.parametrize("is_separate", [False, True])
@pytest.mark.parametrize(("scope", "total"), SCOPES)
async def test_a_discount_is_for_included_seats_for_those_above_or_for_all(
    api: Any,
    scope: str,
    total: str,
    is_separate: bool,
) -> None:
    terms = {"contractedMinimumSeats": 100}
    structure = company.seats(await company.seat_metric(api), "10", **terms)
    price = await company.price(api, structure)
    off = {"type": "PERCENTAGE", "amount": 10, "message": "Off", "separateLineItem": is_separate}
    discounts = [{**off, "seatDiscountType": scope, "restrictToPrices": [price]}]
    phase = company.phase([price], "2024-04-01", "2024-04-30", discounts=discounts)
    who = await company.customer(api)
    await company.schedule(api, who, [], start="2024-04-01", endDate="2024-04-30", phases=[phase])
    await company.reported(api, 120, "2024-04-01")

    assert await billed(api, "2024-06-01") == [("2024-05-01", total)]


async def test_the_day_of_a_change_is_that_of_the_accounts_zone(api: Any, conn: Connection) -> None:
    await conn.execute("update account set time_zone = 'America/New_York'")
    await agreed(api, start="2024-04-01", end="2024-04-30")
    await company.reported(api, 1, "2024-04-16T03:59:59Z")
    await company.reported(api, 2, "2024-04-16T04:00:00Z")
    await company.reported(api, 9, "2024-05-01T04:00:00Z")

    # 1 from the 15th: 16 days; 1 more from the 16th: 15 days.
    assert await billed(api, "2024-06-01") == [("2024-05-01", "15.50")]


async def test_a_corrected_total_takes_the_place_of_the_first(api: Any) -> None:
    await agreed(api, start="2024-04-01", end="2024-04-30")
    await company.reported(api, 100, "2024-04-01", customerEventId="one")
    await company.reported(api, 10, "2024-04-01", customerEventId="one")

    assert await billed(api, "2024-06-01") == [("2024-05-01", "150.00")]


async def test_seat_types_and_customers_stand_apart_in_one_run(api: Any) -> None:
    admin, viewer = await company.seat_metric(api), await company.seat_metric(api, "viewer")
    for alias, metric, start in (("acme", admin, "2024-04-01"), ("beta", viewer, "2024-04-16"), ("gamma", admin, None)):
        price = await company.price(api, company.seats(metric))
        first = start or "2024-03-01"
        await company.schedule(api, await company.customer(api, alias), [price], start=first, endDate="2024-04-30")
    await company.reported(api, 2, "2024-03-16")
    await company.reported(api, 9, "2024-03-16", type_="viewer")
    await company.reported(api, 4, "2024-01-01", alias="beta", type_="viewer")
    await company.reported(api, 6, "2024-03-01", alias="gamma")

    assert sorted(await billed(api, "2024-06-01")) == [
        ("2024-04-01", "90.00"),
        ("2024-05-01", "30.00"),
        ("2024-05-01", "30.00"),
        ("2024-05-01", "90.00"),
    ]


async def test_a_roll_up_prices_the_seats_of_the_whole_family_together(api: Any) -> None:
    price = await company.price(api, company.seats(await company.seat_metric(api), tiers=LADDER))
    parent = await company.customer(api, "parent")
    child = await company.customer(api, "child", parentId=parent)
    await company.customer(api, "grandchild", parentId=child)
    await company.schedule(api, parent, [price], start="2024-04-01", endDate="2024-04-30", rollUpBilling=True)
    for alias, total in (("parent", 9), ("child", 5), ("grandchild", 6)):
        await company.reported(api, total, "2024-01-01", alias=alias)

    assert await billed(api, "2024-06-01") == [("2024-05-01", "255.00")]


async def test_a_seat_of_the_first_day_that_the_invoice_did_not_know_is_a_difference_on_the_next(api: Any) -> None:
    await agreed(api, start="2025-02-01", end="2025-03-31", **ADVANCE)
    await company.reported(api, 10, "2025-01-10")
    assert await billed(api, "2025-02-01") == [("2025-02-01", "150.00")]
    (february,) = await company.invoices(api)
    await api.made(f"/invoices/{february['id']}/finalize", None)
    await company.reported(api, 11, "2025-02-01T09:00:00Z")

    # 11 x 15 for March, 1 x 15 more for February, and nothing additional.
    assert await billed(api, "2025-03-01") == [("2025-02-01", "150.00"), ("2025-03-01", "180.00")]
    _, march = await company.invoices(api)
    found = [(line["kind"], line["netTotal"]) for line in await company.lines(api, march)]
    assert sorted(found) == [("CHARGE", "165.00"), ("LATE_USAGE", "15.00")]
