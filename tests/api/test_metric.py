"""/usage-metrics: how they are made, shown, changed and deleted."""

from typing import Any

import pytest
from redis.asyncio import Redis

from meter.history import History
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
        "groupBy": [],
        "numberFilters": {},
        "version": 1,
        "history": {"isComplete": True, "progress": "1", "receivedFrom": None},
    }
    assert (await api.get(f"/usage-metrics/{made['id']}")).body == made


async def test_what_is_left_out_has_a_default(api: Server) -> None:
    made = await api.made("/usage-metrics", metric())

    assert (made["propertyFilters"], made["caseSensitive"], made["propertiesToNegate"]) == ({}, True, [])


@pytest.mark.parametrize(
    ("asked", "status", "code", "key"),
    [
        (metric(metricType="GROUPED"), 400, "MISSING_FIELD", "groupingProperty"),
        (metric(groupingProperty="model"), 400, "INVALID_VALUE", "groupingProperty"),
        (metric(groupBy=["model"]), 400, "INVALID_VALUE", "groupBy"),
        (metric(metricType="GROUPED", groupBy=["a", "a"]), 400, "INVALID_VALUE", "groupBy"),
        (metric(metricType="GROUPED", groupBy=list("abcdef")), 400, "INVALID_VALUE", "groupBy"),
        (metric(metricType="GROUPED", groupBy=["a"], groupingProperty="b"), 400, "INVALID_VALUE", "groupBy"),
        (metric(numberFilters={"tokens": {}}), 400, "INVALID_VALUE", "numberFilters[...]"),
        (metric(numberFilters={"tokens": {"about": 1}}), 400, "INVALID_VALUE", "numberFilters[...]"),
        (metric(numberFilters={"tokens": {"gte": "1e30"}}), 400, "INEXACT_NUMBER", "numberFilters.tokens.gte"),
        (metric(aggregationType="CUSTOM"), 422, "NOT_OFFERED_YET", "aggregationType"),
        (metric(aggregationType="SUM"), 400, "MISSING_FIELD", "aggregationProperty"),
        (metric(aggregationType="UNIQUE"), 400, "MISSING_FIELD", "aggregationProperty"),
        (metric(aggregationProperty="tokens"), 400, "INVALID_VALUE", "aggregationProperty"),
        (metric(aggregationType="MAX"), 400, "MISSING_FIELD", "aggregationProperty"),
        (metric(aggregationType="MEDIAN"), 400, "INVALID_VALUE", "aggregationType"),
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


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"groupingProperty": "model"}, ("model", ["model"])),
        ({"groupBy": ["model"]}, ("model", ["model"])),
        ({"groupBy": ["region", "model"]}, (None, ["region", "model"])),
    ],
)
async def test_a_grouped_metric_says_by_what(api: Server, asked: dict[str, Any], shown: tuple[Any, Any]) -> None:
    made = await api.made("/usage-metrics", metric(metricType="GROUPED", **asked))

    assert (made["metricType"], made["groupingProperty"], made["groupBy"]) == ("GROUPED", *shown)
    assert (await api.get(f"/usage-metrics/{made['id']}")).body == made


@pytest.mark.parametrize(
    ("bounds", "value"),
    [
        ({"gte": 5}, 3),
        ({"gt": "5"}, 2),
        ({"gte": "5", "lt": 7.5}, 2),
        ({"lte": "5.0"}, 2),
        ({"eq": "7"}, 1),
        ({"ne": 7}, 3),
        ({"gt": 1, "lt": 0}, 0),
    ],
)
async def test_numbers_are_compared(api: Server, pool: Pool, redis: Redis, bounds: dict[str, Any], value: int) -> None:
    events = [called("a", tokens=5), called("b", tokens="7"), called("c", tokens="-1"), called("d", tokens=7.5)]
    await api.post("/usage-events", [*events, called("e", tokens="many"), called("f"), called("g", tokens=True)])
    await drain(aggregator(pool, redis))

    made = await api.made("/usage-metrics", metric(numberFilters={"tokens": bounds}))

    assert (await api.get(f"/usage-metrics/{made['id']}/calculate?{MARCH}")).body["value"] == value


async def test_a_long_history_is_counted_in_the_background(
    api: Server, pool: Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meter.history.FIRST_EVENTS_MAX", 2)
    await api.post("/usage-events", [called(f"e{n}", tokens=n) for n in range(7)])
    await drain(aggregator(pool, redis))
    made = await api.made("/usage-metrics", tokens())
    refused = await api.get(f"/usage-metrics/{made['id']}/calculate?{MARCH}")

    shown = [made]
    while await History(pool, piece_events_max=3).step():
        shown.append((await api.get(f"/usage-metrics/{made['id']}")).body)

    assert (refused.status, refused.codes) == (503, ["METRIC_COUNTING"])
    assert [one["history"]["isComplete"] for one in shown] == [False, False, True]
    progress = [float(one["history"]["progress"]) for one in shown]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert (await api.get(f"/usage-metrics/{made['id']}/calculate?{MARCH}")).body["value"] == 21


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
