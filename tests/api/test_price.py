"""/prices: what cannot be billed is refused at the door."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from store import metric as metrics
from store.account import Principal
from store.db import Connection
from tests import company
from tests.api import bodies
from tests.server import Server

# Connections that wait for a row of somebody else's.
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
NOWHERE = "00000000-0000-7000-8000-000000000007"

SEATS = {
    "pricingType": "SEAT_BASED",
    "seatMetricId": NOWHERE,
    "pricePerSeat": "15",
    "prorationStrategy": "USE_MAXIMUM",
    "contractedMinimumSeats": 0,
    "tiers": [],
}
LINEAR = {"pricingType": "LINEAR", "pricePerUnit": "0.0000001", "usageMetricId": NOWHERE, "isPricePercentage": False}


@pytest.fixture
async def product(api: Server) -> str:
    return str((await api.made("/products", bodies.product()))["id"])


async def test_a_price_is_shown_with_every_field_of_the_reference(api: Server, product: str) -> None:
    made = await api.made("/prices", bodies.price(product))

    assert made == {
        "id": made["id"],
        "productId": product,
        "name": "Platform fee",
        "currency": "EUR",
        "structure": {"pricingType": "FIXED", "price": "100.00"},
        "billingFrequency": "MONTHLY",
        "billingType": "IN_ADVANCE",
        "createdAt": "2025-03-10T12:00:00Z",
        "updatedAt": "2025-03-10T12:00:00Z",
        "integrationIds": [],
        "customMetricParameters": [],
        "listPriceId": None,
        "usageCalculationPeriod": None,
        "minimum": None,
        "maximum": None,
        "commitment": None,
        "pricesByGroup": None,
        "status": "ACTIVE",
    }
    assert (await api.get(f"/prices/{made['id']}")).body == made


async def test_amounts_are_shown_as_plain_strings_with_the_zeros_that_were_written(
    api: Server, product: str, metric: str
) -> None:
    tiers = [{"upperBound": "100.0", "price": "0.0000001", "fee": "5.00", "isPricePercentage": False}]
    tiers.append({"price": "0", "isPricePercentage": False})
    graduated = {"pricingType": "GRADUATED", "tiers": tiers, "usageMetricId": metric}
    structure = graduated | {"usageCalculationMode": "BILLING_PERIOD"}

    made = await api.made("/prices", bodies.price(product, structure=structure, billingType="IN_ARREARS"))

    assert made["structure"] == structure


@pytest.fixture
async def metric(api: Server) -> str:
    body = {"name": "Calls", "metricType": "SIMPLE", "eventType": "call", "aggregationType": "COUNT"}
    return str((await api.made("/usage-metrics", body))["id"])


async def test_only_name_and_status_change(api: Server, product: str) -> None:
    made = await api.made("/prices", bodies.price(product, status="DRAFT"))

    named = await api.put(f"/prices/{made['id']}", {"name": "New"})
    approved = await api.put(f"/prices/{made['id']}", {"name": "New", "status": "ACTIVE"})
    refused = await api.put(f"/prices/{made['id']}", {"name": "New", "currency": "USD"})

    assert (named.body["name"], named.body["status"]) == ("New", "DRAFT")
    assert approved.body["status"] == "ACTIVE"
    assert refused.codes == ["UNKNOWN_FIELD"]


# A query, and the names it finds.
FILTERS = [
    ("", ["Fee USD", "Fee EUR"]),
    ("currency=USD", ["Fee USD"]),
    ("name=eur", ["Fee EUR"]),
    ("billingFrequency=YEARLY", ["Fee USD"]),
    (f"productId={NOWHERE}", []),
]


async def test_prices_are_filtered(api: Server, product: str) -> None:
    await api.made("/prices", bodies.price(product, name="Fee EUR"))
    await api.made("/prices", bodies.price(product, name="Fee USD", currency="USD", billingFrequency="YEARLY"))

    for query, found in FILTERS:
        reply = await api.get(f"/prices?{query}")

        assert [item["name"] for item in reply.body["items"]] == found, query
        assert reply.body["pagination"]["totalResultSize"] == len(found), query


async def test_a_price_without_schedule_is_deleted_and_returned(api: Server, product: str) -> None:
    made = await api.made("/prices", bodies.price(product))

    assert (await api.delete(f"/prices/{made['id']}")).body == made
    assert (await api.get(f"/prices/{made['id']}")).codes == ["NOT_FOUND"]
    assert (await api.delete(f"/prices/{made['id']}")).codes == ["NOT_FOUND"]


async def test_a_price_that_a_schedule_has_stays(api: Server) -> None:
    contract = await bodies.contracted(api)

    reply = await api.delete(f"/prices/{contract['prices'][0]['id']}")

    assert (reply.status, reply.codes) == (409, ["PRICE_IN_USE"])


# A change of a good request, and the code and field of its refusal.
REFUSED: list[tuple[dict[str, Any], str, str | None]] = [
    ({"productId": NOWHERE}, "NOT_FOUND", "productId"),
    ({"structure": {"pricingType": "FIXED"}}, "MISSING_FIELD", "structure.price"),
    ({"structure": {"pricingType": "FIXED", "price": "1", "x": 1}}, "UNKNOWN_FIELD", "structure.x"),
    ({"structure": {"pricingType": "FIXED", "price": "-1"}}, "NEGATIVE_PRICE", "structure.price"),
    ({"structure": {"pricingType": "FIXED", "price": "NaN"}}, "INEXACT_NUMBER", "structure.price"),
    ({"structure": {"pricingType": "FIXED", "price": "1e20"}}, "INEXACT_NUMBER", "structure.price"),
    (
        {"structure": {"pricingType": "FIXED", "price": "0.0000000000000000001"}},
        "INEXACT_NUMBER",
        "structure.price",
    ),
    ({"structure": {"pricingType": "PACKAGE"}}, "MISSING_FIELD", "structure.packageSize"),
    ({"structure": SEATS}, "NOT_FOUND", "structure.seatMetricId"),
    ({"structure": SEATS | {"seatMetricId": "admin"}}, "INVALID_VALUE", "structure.seatMetricId"),
    ({"structure": SEATS | {"pricePerSeat": "-1"}}, "NEGATIVE_PRICE", "structure.pricePerSeat"),
    ({"structure": SEATS | {"prorationStrategy": "USE_FIRST"}}, "INVALID_VALUE", "structure.prorationStrategy"),
    ({"structure": SEATS | {"contractedMinimumSeats": -1}}, "INVALID_PRICE", "structure.contractedMinimumSeats"),
    ({"structure": SEATS | {"contractedMinimumSeats": 10**9 + 1}}, "INVALID_PRICE", "structure.contractedMinimumSeats"),
    (
        {"structure": SEATS | {"overagesBillingFrequency": "DAILY"}},
        "INVALID_VALUE",
        "structure.overagesBillingFrequency",
    ),
    (
        {"structure": SEATS | {"overagesBillingFrequency": "QUARTERLY"}},
        "INVALID_FREQUENCY",
        "structure.overagesBillingFrequency",
    ),
    (
        {"structure": SEATS | {"tiers": [{"price": "1", "upperBound": "5"}]}},
        "INVALID_TIERS",
        "structure.tiers[0].upperBound",
    ),
    ({"structure": SEATS, "billingFrequency": "ON_DEMAND"}, "INVALID_FREQUENCY", "billingFrequency"),
    ({"structure": SEATS, "minimum": "1"}, "INVALID_PRICE", "minimum"),
    ({"structure": SEATS, "pricesByGroup": {"eu": "1"}}, "UNSUPPORTED_TERMS", "pricesByGroup"),
    ({"structure": {"pricingType": "ONE_TIME", "price": "1"}}, "INVALID_FREQUENCY", "billingFrequency"),
    ({"structure": {"pricingType": "FREE"}}, "INVALID_VALUE", "structure.pricingType"),
    ({"structure": 7}, "WRONG_TYPE", "structure"),
    ({"structure": LINEAR, "billingType": "IN_ARREARS"}, "NOT_FOUND", "structure.usageMetricId"),
    ({"structure": LINEAR}, "USAGE_IN_ADVANCE", "billingType"),
    ({"currency": "EURO"}, "UNKNOWN_CURRENCY", "currency"),
    ({"billingFrequency": "ON_DEMAND"}, "INVALID_FREQUENCY", "billingFrequency"),
    ({"billingFrequency": "PER_EVENT"}, "UNSUPPORTED_TERMS", "billingFrequency"),
    ({"billingFrequency": "HOURLY"}, "INVALID_VALUE", "billingFrequency"),
    ({"listPriceId": NOWHERE}, "NOT_OFFERED_YET", "listPriceId"),
    ({"integrationIds": [{"service": "Xero", "id": "1"}]}, "NOT_OFFERED_YET", "integrationIds"),
    ({"customMetricParameters": [{}]}, "NOT_OFFERED_YET", "customMetricParameters"),
    ({"usageCalculationPeriod": {"frequency": "YEARLY"}}, "MISSING_FIELD", "usageCalculationPeriod.interval"),
    ({"minimum": "1"}, "INVALID_PRICE", "minimum"),
    ({"pricesByGroup": {"eu": "1"}}, "UNSUPPORTED_TERMS", "pricesByGroup"),
    ({"structure": LINEAR, "billingType": "IN_ARREARS", "pricesByGroup": {}}, "INVALID_PRICE", "pricesByGroup"),
    (
        {"structure": LINEAR, "billingType": "IN_ARREARS", "pricesByGroup": {"eu": "-1"}},
        "NEGATIVE_PRICE",
        "pricesByGroup.eu",
    ),
]


async def test_what_cannot_be_billed_is_refused_at_the_door(api: Server, product: str) -> None:
    for change, code, key in REFUSED:
        reply = await api.post("/prices", bodies.price(product, **change))

        assert (reply.codes, reply.keys) == ([code], [key]), change


async def test_a_price_waits_for_who_deletes_its_metric(
    api: Server, product: str, metric: str, conn: Connection, account: Principal
) -> None:
    async with conn.transaction():
        await metrics.delete(conn, account.account, metric=UUID(metric), now=api.clock())
        body = bodies.price(product, structure=LINEAR | {"usageMetricId": metric}, billingType="IN_ARREARS")
        posting = asyncio.create_task(api.post("/prices", body))
        async with asyncio.timeout(10):
            while not await conn.fetchval(WAITING):  # noqa: ASYNC110 another connection's lock
                await asyncio.sleep(0.01)

    reply = await posting
    assert (reply.codes, reply.keys) == (["NOT_FOUND"], ["structure.usageMetricId"])


async def test_a_metric_is_named_by_a_uuid(api: Server, product: str) -> None:
    structure = LINEAR | {"usageMetricId": "tokens"}

    reply = await api.post("/prices", bodies.price(product, structure=structure, billingType="IN_ARREARS"))

    assert (reply.codes, reply.keys) == (["INVALID_VALUE"], ["structure.usageMetricId"])


async def test_what_a_price_says_beside_its_structure_is_read_back(api: Server, product: str) -> None:
    metric = await company.metric(api)
    window = {"frequency": "MONTHLY", "interval": 3}
    ladder = {
        "pricingType": "GRADUATED",
        "usageMetricId": metric,
        "usageCalculationMode": "PERIODIC",
        "tiers": [{"price": "1", "isPricePercentage": False}],
    }
    commitment = {"amount": "100", "overageRate": "0.05"}
    grouped = company.linear(
        "0.10", await company.metric(api, "tokens", metricType="GROUPED", groupingProperty="model")
    )
    linear = company.linear("0.10", metric)
    changes: list[dict[str, Any]] = [
        {"structure": ladder, "usageCalculationPeriod": window},
        {"structure": linear, "minimum": "5", "maximum": "50.5"},
        {"structure": linear, "commitment": commitment},
        {"structure": grouped, "pricesByGroup": {"large": "0.5", "small/new": "0.0000001", "": "1"}},
    ]

    for change in changes:
        made = await api.made("/prices", bodies.price(product, billingType="IN_ARREARS", **change))

        assert {key: made[key] for key in change} == change
        assert (await api.get(f"/prices/{made['id']}")).body == made


# What a metric does, and whether its amounts of events, and of groups, add up to it.
AGGREGATIONS = [
    ("COUNT", True, True),
    ("SUM", True, True),
    ("WEIGHTED", False, True),
    ("UNIQUE", False, False),
    ("MAX", False, False),
    ("MIN", False, False),
    ("LATEST", False, False),
    ("AVERAGE", False, False),
]


async def test_amounts_of_events_and_of_groups_must_add_up(api: Server, product: str) -> None:
    tier = {"price": "1", "isPricePercentage": False, "maxPrice": "5"}
    for aggregation, by_event, by_group in AGGREGATIONS:
        reads = {} if aggregation == "COUNT" else {"aggregationProperty": "used"}
        changes = {"eventType": "calls", "aggregationType": aggregation, **reads}
        metric = await company.metric(api, aggregation, metricType="GROUPED", groupingProperty="region", **changes)
        volume = {"pricingType": "VOLUME", "usageMetricId": metric, "tiers": [tier]}
        grouped = {"structure": company.linear("1", metric), "pricesByGroup": {"eu": "2"}}
        for change, is_offered, key in (
            ({"structure": volume}, by_event, "structure.usageMetricId"),
            (grouped, by_group, "pricesByGroup"),
        ):
            reply = await api.post("/prices", bodies.price(product, billingType="IN_ARREARS", **change))

            assert reply.status == (201 if is_offered else 422), (aggregation, key)
            assert is_offered or (reply.codes, reply.keys) == (["INVALID_PRICE"], [key]), aggregation


async def test_prices_by_group_need_a_metric_with_groups(api: Server, product: str, metric: str) -> None:
    change = {"structure": company.linear("1", metric), "pricesByGroup": {"eu": "2"}}

    reply = await api.post("/prices", bodies.price(product, billingType="IN_ARREARS", **change))

    assert (reply.codes, reply.keys) == (["INVALID_PRICE"], ["pricesByGroup"])


async def test_seats_are_read_back_in_the_words_of_the_reference(api: Server, product: str) -> None:
    structure = {
        "pricingType": "SEAT_BASED",
        "seatMetricId": await company.seat_metric(api),
        "pricePerSeat": "0.25",
        "prorationStrategy": "USE_MAXIMUM",
        "contractedMinimumSeats": 10,
        "tiers": [{"price": "1.00", "upperBound": "100", "fee": "50.00"}, {"price": "0.75", "fee": "25.00"}],
        "overagesBillingFrequency": "YEARLY",
        "prorateFlatFees": True,
    }
    for billing_type in ("IN_ADVANCE", "IN_ARREARS"):
        body = bodies.price(product, structure=structure, billingFrequency="YEARLY", billingType=billing_type)
        made = await api.made("/prices", body)

        assert made["structure"] == structure
        assert (await api.get(f"/prices/{made['id']}")).body == made
