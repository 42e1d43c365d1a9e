"""/usage-metrics: how they are made, shown, changed and deleted."""

from typing import Any

import pytest
from redis.asyncio import Redis

from store.db import Pool
from tests.server import Server
from tests.usage import aggregator, called, drain

MARCH = "customerAliases=acme&periodStart=2025-03-01&periodEnd=2025-03-31"


def metric(**fields: Any) -> dict[str, Any]:
    return {"name": "Calls", "metricType": "SIMPLE", "eventType": "call", "aggregationType": "COUNT"} | fields


def tokens(**fields: Any) -> dict[str, Any]:
    return metric(name="Tokens", aggregationType="SUM", aggregationProperty="tokens") | fields


async def test_a_metric_is_shown_with_every_field_of_the_reference(api: Server) -> None:
    asked = tokens(
        description="All of them",
        unit="tokens",
        propertyFilters={"plan": ["team", "pro", "pro"], "region": ["eu"]},
        caseSensitive=False,
        propertiesToNegate=["plan"],
    )

    made = await api.made("/usage-metrics", asked)

    assert made == asked | {
        "id": made["id"],
        "sequenceAccountId": "0193f000-0000-7000-8000-000000000001",
        "groupingProperty": None,
        "createdAt": "2025-03-10T12:00:00Z",
        "deletedAt": None,
        "propertyFilters": {"plan": ["pro", "team"], "region": ["eu"]},
        "parameters": [],
    }
    assert (await api.get(f"/usage-metrics/{made['id']}")).body == made


async def test_what_is_left_out_has_a_default(api: Server) -> None:
    made = await api.made("/usage-metrics", metric())

    assert (made["propertyFilters"], made["caseSensitive"], made["propertiesToNegate"]) == ({}, True, [])


@pytest.mark.parametrize(
    ("asked", "status", "code", "key"),
    [
        (metric(metricType="GROUPED", groupingProperty="model"), 422, "NOT_OFFERED_YET", "groupingProperty"),
        (metric(metricType="GROUPED"), 422, "NOT_OFFERED_YET", "metricType"),
        (metric(aggregationType="CUSTOM"), 422, "NOT_OFFERED_YET", "aggregationType"),
        (metric(aggregationType="SUM"), 400, "MISSING_FIELD", "aggregationProperty"),
        (metric(aggregationType="UNIQUE"), 400, "MISSING_FIELD", "aggregationProperty"),
        (metric(aggregationProperty="tokens"), 400, "INVALID_VALUE", "aggregationProperty"),
        (metric(aggregationType="MAX"), 400, "INVALID_VALUE", "aggregationType"),
        (metric(name=""), 400, "INVALID_VALUE", "name"),
        (metric(eventType=7), 400, "WRONG_TYPE", "eventType"),
        (metric(propertyFilters={"plan": []}), 400, "INVALID_VALUE", "propertyFilters[...]"),
        (metric(propertyFilters={"plan": "pro"}), 400, "WRONG_TYPE", "propertyFilters[...]"),
        (metric(propertiesToNegate=["plan"]), 400, "INVALID_VALUE", "propertiesToNegate[0]"),
        (metric(parameters=[]), 400, "UNKNOWN_FIELD", "parameters"),
    ],
)
async def test_what_cannot_be_counted_is_refused(
    api: Server, asked: dict[str, Any], status: int, code: str, key: str
) -> None:
    reply = await api.post("/usage-metrics", asked)

    assert (reply.status, reply.codes, reply.keys) == (status, [code], [key])


async def test_a_metric_counts_what_came_before_it(api: Server, pool: Pool, redis: Redis) -> None:
    await api.post("/usage-events", [called("a", tokens=5), called("b", tokens="0.5"), called("b", tokens=7)])
    await drain(aggregator(pool, redis))

    made = await api.made("/usage-metrics", tokens())

    assert (await api.get(f"/usage-metrics/{made['id']}/calculate?{MARCH}")).body["value"] == 12


async def test_a_change_of_words_is_shown_at_once(api: Server) -> None:
    made = await api.made("/usage-metrics", metric())

    changed = await api.put(f"/usage-metrics/{made['id']}", metric(name="Requests", description="of any kind"))

    assert changed.body == made | {"name": "Requests", "description": "of any kind"}
    assert (await api.get(f"/usage-metrics/{made['id']}")).body == changed.body


async def test_a_change_of_counting_counts_everything_again(api: Server, pool: Pool, redis: Redis) -> None:
    made = await api.made("/usage-metrics", metric())
    await api.post("/usage-events", [called("a", tokens=5), called("b", tokens=7)])
    await drain(aggregator(pool, redis))

    changed = await api.put(f"/usage-metrics/{made['id']}", tokens())

    assert changed.body["id"] == made["id"]
    assert (await api.get(f"/usage-metrics/{made['id']}/calculate?{MARCH}")).body["value"] == 12


async def test_a_deleted_metric_is_answered_once_more_and_then_gone(api: Server) -> None:
    made = await api.made("/usage-metrics", metric())

    deleted = await api.delete(f"/usage-metrics/{made['id']}")

    assert (deleted.status, deleted.body) == (200, made | {"deletedAt": "2025-03-10T12:00:00Z"})
    assert (await api.get(f"/usage-metrics/{made['id']}")).status == 404
    assert (await api.get("/usage-metrics")).body["items"] == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["With, comma", "Tokens", "Calls"]),
        ("name=o", ["With, comma", "Tokens"]),
        ("eventType=call", ["Tokens", "Calls"]),
        ("eventType=call,a%2Cb", ["With, comma", "Tokens", "Calls"]),
        ("eventType=a%2Cb", ["With, comma"]),
        ("eventType=a,b", []),
        ("eventProperty=tokens,users", ["Tokens"]),
        ("aggregationType=COUNT", ["With, comma", "Calls"]),
        ("aggregationType=COUNT&name=ca", ["Calls"]),
        ("limit=1", ["With, comma"]),
        ("sortOrder=ASC&limit=2", ["Calls", "Tokens"]),
    ],
)
async def test_lists_are_filtered(api: Server, query: str, found: list[str]) -> None:
    for asked in (metric(), tokens(), metric(name="With, comma", eventType="a,b")):
        await api.made("/usage-metrics", asked)

    reply = await api.get(f"/usage-metrics?{query}")

    assert [one["name"] for one in reply.body["items"]] == found
