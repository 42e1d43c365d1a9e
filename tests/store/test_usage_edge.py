"""A ragged edge is answered from its cheaper side, and the answer is the same from either."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from store import usage_edge, usage_piece
from store.account import Principal
from store.db import Connection, Pool
from tests.usage import accept, aggregator, called, definition, drain, make_metric, measured, used

AGGREGATIONS = {
    "COUNT": (None, used("3", 3)),
    "SUM": ("tokens", used("9", 3)),
    "AVERAGE": ("tokens", used("3", 3)),
    "MAX": ("tokens", used("5", 3)),
    "MIN": ("tokens", used("2", 3)),
    "LATEST": ("tokens", used("5", 3)),
    "UNIQUE": ("tokens", used("2", 3)),
}
ADDS_UP = {"COUNT", "SUM", "AVERAGE"}
# Of one quarter hour; "until" is an end after the first three.
TOKENS = {"10:01": 2, "10:02": 2, "10:03": 5, "10:09": 70, "10:10": 80}


@pytest.fixture
async def events(pool: Pool, redis: Redis, account: Principal) -> None:
    many = [called(minute, when=f"2025-03-01T{minute}:00Z", tokens=n) for minute, n in TOKENS.items()]
    await accept(redis, account, *many)
    await drain(aggregator(pool, redis))


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("name", AGGREGATIONS)
@pytest.mark.parametrize("rest_events_max", [0, 1, 2, 1_000])
async def test_what_lies_beyond_an_edge_does_not_count(
    conn: Connection, account: Principal, name: str, rest_events_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_edge, "REST_EVENTS_MAX", rest_events_max)
    of, expected = AGGREGATIONS[name]
    metric = await make_metric(conn, account, definition(name, of))

    assert await measured(conn, account, metric, end="2025-03-01T10:05") == expected


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("name", AGGREGATIONS)
async def test_until_now_is_read_from_counters(conn: Connection, account: Principal, name: str) -> None:
    metric = await make_metric(conn, account, definition(name, AGGREGATIONS[name][0]))

    async def ask() -> None:
        await measured(conn, account, metric, end="2025-03-01T10:11")

    assert usage_piece._EDGES not in await queries(conn, ask)


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("name", AGGREGATIONS)
async def test_only_what_adds_up_is_read_from_the_other_side(conn: Connection, account: Principal, name: str) -> None:
    metric = await make_metric(conn, account, definition(name, AGGREGATIONS[name][0]))

    async def ask() -> None:
        await measured(conn, account, metric, end="2025-03-01T10:05")

    assert (usage_piece._EDGES in await queries(conn, ask)) == (name not in ADDS_UP)


async def queries(conn: Connection, ask: Callable[[], Any]) -> list[str]:
    seen: list[str] = []

    def note(record: Any) -> None:
        seen.append(record.query)

    conn.add_query_logger(note)
    await ask()
    conn.remove_query_logger(note)
    return seen
