"""Ballast looks like events that were sent, and has ids and numbers of its own."""

import pytest
from redis.asyncio import Redis

from store import ballast
from store.account import Principal
from store.db import Connection, Pool
from tests.usage import NOW, accept, aggregator, called, drain


@pytest.mark.parametrize("is_time_ordered", [True, False])
async def test_ballast_weighs_what_events_weigh(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, *, is_time_ordered: bool
) -> None:
    await accept(redis, account, called("a", tokens=5), called("b", alias="beta", tokens=7))
    await drain(aggregator(pool, redis))

    for _ in range(2):
        await ballast.add(conn, account.account, events=500, is_time_ordered=is_time_ordered, now=NOW)

    events = (
        "select count(*), count(distinct e.event_no), count(distinct k.key) from usage_event as e"
        " join event_key as k using (account, key, event_no)"
    )
    assert tuple(await conn.fetchrow(events) or ()) == (1002, 1002, 1002)
    shapes = "select alias, properties, count(*) from usage_event group by 1, 2 order by 3"
    assert [row["count"] for row in await conn.fetch(shapes)] == [501, 501]
    keys = await conn.fetch("select key from event_key order by event_no desc limit 1000")
    assert ([row["key"] for row in keys] == sorted((row["key"] for row in keys), reverse=True)) == is_time_ordered
