"""GET /usage-metrics/{id}/calculate: one metric over a range."""

from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from meter import identity
from store.db import Connection, Pool
from tests.server import Server
from tests.usage import aggregator, called, drain

EVENTS = [
    called("first", when="2025-03-01T00:00:00Z", tokens=1, user="x"),
    called("second", when="2025-03-05T12:00:00Z", tokens="2.5", user="y"),
    called("elsewhere", alias="beta, inc", when="2025-03-05T12:00:00Z", tokens=10, user="x"),
    called("last", when="2025-03-09T23:59:59.999999Z", tokens="0.000000000000000001", user="y"),
    called("too late", when="2025-03-10T00:00:00Z", tokens=1_000, user="z"),
]
RANGE = "periodStart=2025-03-01&periodEnd=2025-03-09"


@pytest.fixture
async def metrics(api: Server, pool: Pool, redis: Redis) -> dict[str, str]:
    """The ids of a COUNT, a SUM and a UNIQUE metric over EVENTS."""
    made = {}
    for aggregation, of in (("COUNT", None), ("SUM", "tokens"), ("UNIQUE", "user")):
        body = {"name": aggregation, "metricType": "SIMPLE", "eventType": "call", "aggregationType": aggregation}
        made[aggregation] = (await api.made("/usage-metrics", body | {"aggregationProperty": of, "unit": "u"}))["id"]
    await api.post("/usage-events", EVENTS)
    await drain(aggregator(pool, redis))
    return made


async def calculated(api: Server, metric: str, query: str) -> dict[str, Any]:
    reply = await api.get(f"/usage-metrics/{metric}/calculate?{query}")
    assert reply.status == 200, reply.body
    return dict(reply.body)


def public(event_id: str) -> str:
    return str(identity.public_id(identity.key(event_id)))


async def test_a_calculation_has_every_field_of_the_reference(api: Server, metrics: dict[str, str]) -> None:
    assert await calculated(api, metrics["SUM"], f"customerAliases=acme&{RANGE}") == {
        "name": "SUM",
        "metricType": "SIMPLE",
        "eventType": "call",
        "aggregationType": "SUM",
        "eventCount": 3,
        "value": Decimal("3.500000000000000001"),
        "unit": "u",
        "minEventId": public("first"),
        "maxEventId": public("last"),
    }


@pytest.mark.parametrize(
    ("aggregation", "query", "value"),
    [
        ("COUNT", f"customerAliases=acme&{RANGE}", 3),
        ("COUNT", f"customerAliases=acme,acme&{RANGE}", 3),
        ("COUNT", f"customerAliases=acme,beta%2C%20inc&{RANGE}", 4),
        ("COUNT", f"customerAliases=acme,beta%2C+inc&{RANGE}", 4),
        ("UNIQUE", f"customerAliases=acme&{RANGE}", 2),
        ("UNIQUE", f"customerAliases=acme,beta%2C%20inc&{RANGE}", 2),
        ("COUNT", f"customerAliases=nobody&{RANGE}", 0),
        ("UNIQUE", f"customerAliases=nobody&{RANGE}", 0),
        ("COUNT", "customerAliases=acme&periodStart=2025-03-01&periodEnd=2025-03-10", 4),
        ("COUNT", "customerAliases=acme&periodStart=2025-03-05&periodEnd=2025-03-05", 1),
        # Instants are inclusive too, and exact to the microsecond.
        ("COUNT", "customerAliases=acme&periodStart=2025-03-05T12:00:00Z&periodEnd=2025-03-05T12:00:00Z", 1),
        ("COUNT", "customerAliases=acme&periodStart=2025-03-05T12:00:00.000001Z&periodEnd=2025-03-09", 1),
        ("COUNT", "customerAliases=acme&periodStart=2025-03-05T13:00:00%2B01:00&periodEnd=2025-03-05", 1),
        ("COUNT", "customerAliases=acme&periodStart=2025-03-05T13:00:00+01:00&periodEnd=2025-03-05", 1),
    ],
)
async def test_a_range_and_its_aliases_decide_what_counts(
    api: Server, metrics: dict[str, str], aggregation: str, query: str, value: int
) -> None:
    assert (await calculated(api, metrics[aggregation], query))["value"] == value


async def test_nothing_has_no_first_and_no_last_event(api: Server, metrics: dict[str, str]) -> None:
    found = await calculated(api, metrics["COUNT"], f"customerAliases=nobody&{RANGE}")

    assert (found["eventCount"], found["minEventId"], found["maxEventId"]) == (0, None, None)


async def test_days_are_those_of_the_accounts_zone(api: Server, conn: Connection, metrics: dict[str, str]) -> None:
    await conn.execute("update account set time_zone = 'Asia/Tokyo'; truncate usage_day")

    # In Tokyo the first event is one of 1 March at 9:00, and 9 March ends at 15:00 UTC.
    found = await calculated(api, metrics["COUNT"], "customerAliases=acme&periodStart=2025-03-01&periodEnd=2025-03-01")

    assert found["eventCount"] == 0


@pytest.mark.parametrize(
    ("query", "code", "key"),
    [
        (RANGE, "MISSING_FIELD", "customerAliases"),
        ("customerAliases=acme&periodStart=2025-03-01", "MISSING_FIELD", "periodEnd"),
        (f"customerAliases=&{RANGE}", "INVALID_VALUE", "customerAliases"),
        (f"customerAliases=acme&{RANGE}&zone=UTC", "UNKNOWN_FIELD", "zone"),
        (f"customerAliases=acme&{RANGE}&customParameters=x", "NOT_OFFERED_YET", "customParameters"),
        ("customerAliases=acme&periodStart=2025-03-02&periodEnd=2025-03-01", "INVALID_VALUE", "periodEnd"),
        ("customerAliases=acme&periodStart=march&periodEnd=2025-03-01", "INVALID_VALUE", "periodStart"),
        ("customerAliases=acme&periodStart=2025-02-30&periodEnd=2025-03-01", "INVALID_VALUE", "periodStart"),
        ("customerAliases=acme&periodStart=2025-03-01T00:00:00&periodEnd=2025-03-01", "INVALID_VALUE", "periodStart"),
        ("customerAliases=acme&periodStart=2025-03-01&periodEnd=9999-12-31", "INVALID_VALUE", "periodEnd"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    api: Server, metrics: dict[str, str], query: str, code: str, key: str
) -> None:
    reply = await api.get(f"/usage-metrics/{metrics['COUNT']}/calculate?{query}")

    assert (reply.codes, reply.keys) == ([code], [key])


async def test_a_metric_that_does_not_exist_is_not_found(api: Server) -> None:
    reply = await api.get(f"/usage-metrics/0193f000-0000-7000-8000-00000000000f/calculate?customerAliases=a&{RANGE}")

    assert (reply.status, reply.codes) == (404, ["NOT_FOUND"])
