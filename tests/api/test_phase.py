"""Phases of billing schedules: what they may say, how it is read back, and what is refused."""

from typing import Any

import pytest

from tests import company
from tests.api import bodies
from tests.server import Server

NOWHERE = "00000000-0000-7000-8000-000000000007"
DISCOUNT = {"type": "PERCENTAGE", "amount": 8.5, "message": "8.5 % off", "separateLineItem": True}
GRANT = {
    "name": "Monthly",
    "creditUnitType": "CURRENCY",
    "currency": "USD",
    "amount": 100,
    "grantRefreshFrequency": "MONTHLY",
    "rolloverMode": "NONE",
}


@pytest.fixture
async def usage(api: Server) -> str:
    """A usage price, billed monthly."""
    return await company.price(api, company.linear("0.10", await company.metric(api)))


async def posted(api: Server, price: str, **terms: Any) -> Any:
    """The answer to a schedule whose only phase says so."""
    who = await api.made("/customers", bodies.customer())
    body = bodies.schedule(who["id"], price)
    body["phases"][0] |= terms
    return await api.post("/billing-schedules", body)


async def test_terms_are_read_back_as_they_were_sent(api: Server, usage: str) -> None:
    terms = {
        "discounts": [DISCOUNT | {"validTo": "2025-06-30"}],
        "minimums": [{"amount": 500}],
        "creditGrants": [GRANT],
    }

    made = (await posted(api, usage, **terms, planMinimum="12.50", milestone={"name": "Go live"})).body

    (phase,) = made["phases"]
    (discount,), (minimum,), (grant,) = phase["discounts"], phase["minimums"], phase["creditGrants"]
    assert discount | DISCOUNT == discount
    assert (discount["validFrom"], discount["validTo"]) == (None, "2025-06-30")
    assert (minimum["amount"], minimum["phaseId"], minimum["billingScheduleId"]) == (500, phase["id"], made["id"])
    assert grant | GRANT == grant
    assert (phase["planMinimum"], phase["milestone"]) == ("12.5", {"name": "Go live", "completedOn": None})
    assert (await api.get(f"/billing-schedules/{made['id']}")).body == made


async def test_several_phases_follow_each_other(api: Server, usage: str) -> None:
    who = await api.made("/customers", bodies.customer())
    phases = [
        company.phase([usage], "2025-01-01", "2025-03-31", name="Pilot"),
        company.phase([usage], "2025-04-01", recurrencePreference="RESET"),
    ]

    made = await api.made("/billing-schedules", bodies.schedule(who["id"]) | {"phases": phases})
    gap = bodies.schedule(who["id"]) | {"phases": [phases[0], company.phase([usage], "2025-04-02")]}

    assert [phase["recurrencePreference"] for phase in made["phases"]] == ["CONTINUE_FROM_PREVIOUS_PHASE", "RESET"]
    assert [price["id"] for price in made["prices"]] == [usage]
    refused = await api.post("/billing-schedules", gap)
    assert (refused.codes, refused.keys) == (["INVALID_SCHEDULE"], ["phases[1].startDate"])


async def test_a_draft_changes_its_phases_and_what_stays_keeps_its_id(api: Server, usage: str) -> None:
    who = await api.made("/customers", bodies.customer())
    body = bodies.schedule(who["id"], usage, isDraft=True)
    body["phases"][0] |= {"discounts": [DISCOUNT], "creditGrants": [GRANT]}
    made = await api.made("/billing-schedules", body | {"phases": [*body["phases"]]})
    asked = bodies.changed(made)
    asked["phases"][0]["discounts"] = [DISCOUNT | {"amount": 9}, DISCOUNT]

    reply = await api.put(f"/billing-schedules/{made['id']}", asked)

    before, after = made["phases"][0], reply.body["phases"][0]
    assert after["id"] == before["id"]
    assert after["creditGrants"] == before["creditGrants"]
    assert [one["amount"] for one in after["discounts"]] == [9, 8.5]
    assert after["discounts"][1] == before["discounts"][0]
    assert after["discounts"][0]["id"] != before["discounts"][0]["id"]


async def test_a_draft_loses_the_phases_it_no_longer_has(api: Server, usage: str) -> None:
    who = await api.made("/customers", bodies.customer())
    phases = [company.phase([usage], "2025-01-01", "2025-03-31"), company.phase([usage], "2025-04-01")]
    made = await api.made("/billing-schedules", bodies.schedule(who["id"], isDraft=True) | {"phases": phases})
    asked = bodies.changed(made) | {"phases": [company.phase([usage], "2025-01-01")]}

    reply = await api.put(f"/billing-schedules/{made['id']}", asked)

    assert [phase["endDate"] for phase in reply.body["phases"]] == [None]


async def test_the_terms_of_a_running_schedule_change_for_what_is_to_come(api: Server, usage: str) -> None:
    made = (await posted(api, usage, discounts=[DISCOUNT])).body
    same = bodies.changed(made)
    same["phases"][0]["discounts"] = [DISCOUNT]
    other = bodies.changed(made)
    other["phases"][0]["discounts"] = [DISCOUNT | {"amount": 9}]
    longer = bodies.changed(made, endDate=None)
    longer["phases"][0] |= {"endDate": "2025-12-31", "discounts": [DISCOUNT]}
    longer["phases"].append(company.phase([usage], "2026-01-01"))

    kept, cheaper, renewed = [
        await api.put(f"/billing-schedules/{made['id']}", asked) for asked in (same, other, longer)
    ]

    assert kept.body["phases"] == made["phases"]
    assert [one["amount"] for one in cheaper.body["phases"][0]["discounts"]] == [9]
    assert [one["startDate"] for one in renewed.body["phases"]] == ["2025-01-01", "2026-01-01"]


# What a phase says, and the code and field of its refusal.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"discounts": [{}]}, "MISSING_FIELD", "discounts[0].type"),
    ({"discounts": [DISCOUNT | {"amount": 101}]}, "INVALID_DISCOUNT", "discounts[0].amount"),
    ({"discounts": [DISCOUNT | {"restrictToPrices": [NOWHERE]}]}, "INVALID_DISCOUNT", "discounts[0].restrictToPrices"),
    ({"discounts": [DISCOUNT] * 101}, "INVALID_TERMS", "discounts"),
    ({"discounts": [DISCOUNT | {"type": "NOMINAL", "amount": 10**15}]}, "INVALID_DISCOUNT", "discounts[0].amount"),
    ({"minimums": [{"amount": 10**15}]}, "INVALID_MINIMUM", "minimums[0].amount"),
    ({"minimums": [{"amount": -1}]}, "INVALID_MINIMUM", "minimums[0].amount"),
    ({"creditGrants": [GRANT | {"currency": None}]}, "INVALID_GRANT", "creditGrants[0].currency"),
    ({"creditGrants": [GRANT | {"costOfCredit": -5}]}, "INVALID_GRANT", "creditGrants[0].costOfCredit"),
    ({"creditGrants": [GRANT | {"currency": "GBP", "costOfCredit": 5}]}, "INVALID_GRANT", "creditGrants[0].currency"),
    ({"creditGrants": [GRANT | {"taxRateId": NOWHERE}]}, "NOT_FOUND", "creditGrants[0].taxRateId"),
    ({"creditGrants": [GRANT | {"id": NOWHERE}]}, "INVALID_VALUE", "creditGrants[0].id"),
    ({"discounts": [DISCOUNT | {"validTo": "9999-12-31"}]}, "INVALID_VALUE", "discounts[0].validTo"),
    ({"endDate": "9999-12-31"}, "INVALID_VALUE", "endDate"),
    ({"planMinimum": "-1"}, "NEGATIVE_PRICE", "planMinimum"),
    ({"milestone": {}}, "MISSING_FIELD", "milestone.name"),
]


async def test_terms_that_cannot_be_billed_are_refused_at_the_door(api: Server, usage: str) -> None:
    for terms, code, key in REFUSED:
        reply = await posted(api, usage, **terms)

        assert (reply.codes, reply.keys) == ([code], [f"phases[0].{key}"]), terms


async def test_a_minimum_covers_usage_prices_of_one_frequency(api: Server, usage: str) -> None:
    metric = await company.metric(api, "other")
    yearly = await company.price(api, company.linear("1", metric), billingFrequency="YEARLY")
    fee = await company.price(api, company.fixed("5"))
    who = await api.made("/customers", bodies.customer())
    mixed, fixed = bodies.schedule(who["id"], usage, yearly), bodies.schedule(who["id"], fee)
    for body in (mixed, fixed):
        body["phases"][0]["minimums"] = [{"amount": 5}]

    replies = [await api.post("/billing-schedules", body) for body in (mixed, fixed)]

    assert [reply.codes for reply in replies] == [["MIXED_FREQUENCIES"], ["INVALID_MINIMUM"]]
