"""POST /usage/query: windows, groups, filters, customers, and what was just sent."""

from typing import Any

import pytest
from redis.asyncio import Redis

from meter.aggregate import Aggregator
from store.db import Connection, Pool
from tests import company
from tests.server import Server
from tests.usage import aggregator, called, drain

MARCH = {"from": "2025-03-01T00:00:00Z", "to": "2025-04-01T00:00:00Z"}
EVENTS = [
    called("a", when="2025-03-01T00:10:00Z", tokens=1, model="small", region="eu"),
    called("b", when="2025-03-01T23:30:00Z", tokens=2, model="large", region="eu"),
    called("c", when="2025-03-09T12:00:00Z", tokens=4, model="small", region="us"),
    called("d", alias="beta", when="2025-03-09T12:00:00Z", tokens=8),
]


@pytest.fixture
def counting(pool: Pool, redis: Redis) -> Aggregator:
    return aggregator(pool, redis)


@pytest.fixture
async def tokens(api: Server, counting: Aggregator) -> str:
    """A SUM metric by model over EVENTS."""
    await api.post("/usage-events", EVENTS)
    await drain(counting)
    return await metric(api)


async def metric(api: Server, **changes: Any) -> str:
    body = {"name": "Tokens", "metricType": "GROUPED", "groupingProperty": "model", "eventType": "call"}
    return str(
        (
            await api.made(
                "/usage-metrics", body | {"aggregationType": "SUM", "aggregationProperty": "tokens"} | changes
            )
        )["id"]
    )


async def asked(api: Server, metric_id: str, **fields: Any) -> list[Any]:
    body = {"metrics": [metric_id], "customerAliases": ["acme"], **MARCH, **fields}
    reply = await api.post("/usage/query", {name: value for name, value in body.items() if value is not None})
    assert reply.status == 200, reply.body
    return list(reply.body["items"])


def values(items: list[Any]) -> list[tuple[str, str]]:
    return [(one["from"][:13], one["value"]) for one in items]


async def test_an_answer_has_every_field(api: Server, tokens: str) -> None:
    reply = await api.post("/usage/query", {"metrics": [tokens], "customerAliases": ["acme"], **MARCH})

    assert reply.body == {
        "items": [{"metricId": tokens, **MARCH, "group": {}, "value": "7", "eventCount": 3}],
        "countedUpTo": reply.body["countedUpTo"],
    }
    assert reply.body["countedUpTo"].startswith("0/")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"window": "DAY", "to": "2025-03-03T00:00:00Z"}, [("2025-03-01T00", "3"), ("2025-03-02T00", "0")]),
        (
            {"window": "WEEK"},
            [
                ("2025-03-01T00", "3"),
                ("2025-03-03T00", "4"),
                ("2025-03-10T00", "0"),
                ("2025-03-17T00", "0"),
                ("2025-03-24T00", "0"),
                ("2025-03-31T00", "0"),
            ],
        ),
        ({"window": "MONTH", "from": "2025-02-01T00:00:00Z"}, [("2025-02-01T00", "0"), ("2025-03-01T00", "7")]),
        ({"window": "HOUR", "to": "2025-03-01T01:30:00Z"}, [("2025-03-01T00", "1"), ("2025-03-01T01", "0")]),
        (
            {"window": "DAY", "to": "2025-03-02T00:00:00Z", "timeZone": "Asia/Kathmandu"},
            [("2025-03-01T00", "1"), ("2025-03-01T18", "2")],
        ),
        ({"customerAliases": ["acme", "beta", "acme", "nobody"]}, [("2025-03-01T00", "15")]),
        ({"customerAliases": ["nobody"]}, [("2025-03-01T00", "0")]),
        ({"filters": {"model": ["large"]}}, [("2025-03-01T00", "2")]),
        ({"filters": {"region": ["eu"]}}, [("2025-03-01T00", "3")]),
        ({"filters": {"region": ["eu", "us"], "model": ["small"]}}, [("2025-03-01T00", "5")]),
        ({"filters": {"model": ["none"]}}, [("2025-03-01T00", "0")]),
        ({"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"}, [("0001-01-01T00", "7")]),
    ],
)
async def test_windows_aliases_and_filters(
    api: Server, tokens: str, fields: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert values(await asked(api, tokens, **fields)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"groupBy": ["model"]}, [({"model": "large"}, "2"), ({"model": "small"}, "5")]),
        ({"groupBy": ["region"]}, [({"region": "eu"}, "3"), ({"region": "us"}, "4")]),
        ({"groupBy": ["region"], "filters": {"model": ["small"]}}, [({"region": "eu"}, "1"), ({"region": "us"}, "4")]),
        ({"groupBy": ["model"], "customerAliases": ["beta"]}, [({"model": None}, "8")]),
        ({"groupBy": ["model"], "customerAliases": ["nobody"]}, []),
    ],
)
async def test_groups(api: Server, tokens: str, fields: dict[str, Any], expected: list[Any]) -> None:
    assert [(one["group"], one["value"]) for one in await asked(api, tokens, **fields)] == expected


async def test_a_customer_has_its_aliases_while_they_are_its_own(api: Server, tokens: str, conn: Connection) -> None:
    customer = await company.customer(api, "acme", customerAliases=["acme", "beta"])
    await conn.execute("update customer_alias set valid_to = '2025-03-05' where value = 'acme'")

    assert values(await asked(api, tokens, customerAliases=None, customerId=customer)) == [("2025-03-01T00", "11")]


async def test_billing_periods_are_those_of_the_customers_schedule(api: Server, tokens: str) -> None:
    customer = await company.customer(api, "acme")
    price = await company.price(api, company.fixed("1"))
    await company.schedule(api, customer, [price], start="2025-01-05", recurrenceDayOfMonth=5)

    found = await asked(api, tokens, customerAliases=None, customerId=customer, window="BILLING_PERIOD")

    assert values(found) == [("2025-03-01T00", "3"), ("2025-03-05T00", "4")]


async def test_what_was_just_sent_can_be_read(api: Server, tokens: str, counting: Aggregator) -> None:
    sent = await api.post("/usage-events", [called("new", tokens=100)])
    await drain(counting)

    assert values(await asked(api, tokens, after=sent.body["position"])) == [("2025-03-01T00", "107")]


async def test_what_is_not_counted_in_time_is_said_with_what_is(
    api: Server, tokens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meter.position.wait.__kwdefaults__", {"seconds": 0.05})
    sent = await api.post("/usage-events", [called("new", tokens=100)])

    reply = await api.post(
        "/usage/query",
        {"metrics": [tokens], "customerAliases": ["acme"], **MARCH, "after": sent.body["position"]},
    )

    assert (reply.status, reply.codes) == (504, ["NOT_COUNTED_YET"])
    assert values(reply.body["items"]) == [("2025-03-01T00", "7")]


@pytest.mark.parametrize(
    ("fields", "code", "key"),
    [
        ({"customerId": "0193f000-0000-7000-8000-00000000000f"}, "INVALID_VALUE", "customerAliases"),
        ({"customerAliases": None}, "INVALID_VALUE", "customerAliases"),
        ({"customerAliases": None, "customerId": "0193f000-0000-7000-8000-00000000000f"}, "NOT_FOUND", "customerId"),
        ({"metrics": ["0193f000-0000-7000-8000-00000000000f"]}, "NOT_FOUND", None),
        ({"metrics": []}, "INVALID_VALUE", "metrics"),
        ({"from": "2025-03-01"}, "INVALID_VALUE", "from"),
        ({"to": "2025-03-01T00:00:00Z"}, "INVALID_VALUE", "to"),
        ({"window": "YEAR"}, "INVALID_VALUE", "window"),
        ({"window": "BILLING_PERIOD"}, "NO_BILLING_PERIOD", "window"),
        ({"window": "HOUR", "to": "2055-01-01T00:00:00Z"}, "QUERY_TOO_LARGE", None),
        ({"window": "MONTH", "from": "0001-01-01T00:00:00Z"}, "INVALID_VALUE", "window"),
        ({"window": "HOUR", "from": "9999-12-31T00:00:00Z", "to": "9999-12-31T02:00:00Z"}, "INVALID_VALUE", "window"),
        ({"timeZone": "Mars/Olympus"}, "INVALID_VALUE", "timeZone"),
        ({"groupBy": ["a", "a"]}, "INVALID_VALUE", "groupBy"),
        ({"after": "yesterday"}, "INVALID_VALUE", "after"),
        ({"limit": 5}, "UNKNOWN_FIELD", "limit"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(
    api: Server, tokens: str, fields: dict[str, Any], code: str, key: str | None
) -> None:
    body = {"metrics": [tokens], "customerAliases": ["acme"], **MARCH, **fields}

    reply = await api.post("/usage/query", {name: value for name, value in body.items() if value is not None})

    assert (reply.codes, reply.keys) == ([code], [key])
