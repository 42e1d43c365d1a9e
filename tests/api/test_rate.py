"""Rates: off unless settings say otherwise, counted per key and kind."""

from typing import Any

import pytest
from redis.asyncio import Redis

from runtime.settings import Settings
from store import account as accounts
from store.account import Principal
from store.db import Connection, Pool
from tests.server import Clock, Server, serving
from tests.usage import called
from usance.loop import Servers


@pytest.fixture
def limited(pool: Pool, redis: Redis, conn: Connection, account: Principal, clock: Clock) -> Any:
    def limited(**settings: Any) -> Any:
        return serving(
            Servers(pool, redis), conn=conn, account=account, clock=clock, settings=Settings.read({}, **settings)
        )

    return limited


async def statuses(api: Server, count: int, **options: Any) -> list[int]:
    return [(await api.post("/usage-events", called(f"e{n}"), **options)).status for n in range(count)]


async def test_too_many_requests_are_told_when_to_come_back(limited: Any, redis: Redis) -> None:
    async with limited(rate_limit_ingest="3/hour") as api:
        assert await statuses(api, 3) == [201, 201, 201]
        reply = await api.post("/usage-events", called("d"))

    assert (reply.status, reply.codes, reply.body["error"]["type"]) == (429, ["RATE_LIMITED"], "TOO_MANY_REQUESTS")
    assert 0 < int(reply.headers["Retry-After"]) <= 3600
    assert await redis.xlen("events:{0}") == 3


async def test_events_and_the_rest_are_counted_apart(limited: Any) -> None:
    async with limited(rate_limit_ingest="1/hour", rate_limit_api="1/hour") as api:
        assert await statuses(api, 2) == [201, 429]
        assert [(await api.get("/products")).status for _ in range(2)] == [200, 429]
        assert (await api.get("//health")).status == 200


async def test_each_key_has_its_own(limited: Any, conn: Connection, account: Principal, clock: Clock) -> None:
    await accounts.create_key(conn, account.account, client_id="other", secret="other-secret", now=clock())

    async with limited(rate_limit_ingest="1/hour") as api:
        assert await statuses(api, 2) == [201, 429]
        assert await statuses(api, 1, headers={"Authorization": "Bearer other:other-secret"}) == [201]


async def test_each_process_allows_its_share(limited: Any) -> None:
    async with limited(rate_limit_ingest="5/hour", http_workers=2) as api:
        assert await statuses(api, 3) == [201, 201, 429]


async def test_a_share_is_at_least_one_request(limited: Any) -> None:
    async with limited(rate_limit_ingest="1/hour", http_workers=4) as api:
        assert await statuses(api, 1) == [201]


async def test_clients_that_read_problems_get_one(limited: Any) -> None:
    async with limited(rate_limit_ingest="1/hour") as api:
        await statuses(api, 1)
        reply = await api.post("/v1/events", {})

    assert (reply.status, reply.headers["Content-Type"]) == (429, "application/problem+json")
    assert reply.headers["Retry-After"]
