"""Several aggregators, several streams, and metrics that are born meanwhile: each event still counts once."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from store.account import Principal
from store.db import Connection, Pool
from tests.backfill import Loading
from tests.server import Server
from tests.usage import (
    NOW,
    accept,
    aggregator,
    called,
    definition,
    differences,
    drain,
    make_metric,
    measured,
    states,
    used,
)

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow

NAME = "events:{0}"


async def test_aggregators_at_once_count_each_event_once(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    for number in range(60):
        await accept(redis, account, called(f"e{number}"), called(f"e{number // 2}"))

    workers = [aggregator(pool, redis, batch_events_max=7) for _ in range(4)]
    async with asyncio.timeout(30):
        while (await measured(conn, account, calls)).event_count < 60:
            await asyncio.gather(*(worker.step(NOW) for worker in workers))

    assert await measured(conn, account, calls) == used("60", 60)
    assert await differences(conn) == []


async def test_the_same_ids_in_two_streams_count_once_and_the_last_received_wins(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    for number, name in enumerate(["events:{0}", "events:{1}", "events:{0}", "events:{1}"]):
        await accept(redis, account, *(called(f"e{n}", tokens=n * (number % 3)) for n in range(50)), name=name)

    workers = [aggregator(pool, redis, streams=2, batch_events_max=50) for _ in range(3)]
    async with asyncio.timeout(30):
        while sum(await asyncio.gather(*(worker.step(NOW) for worker in workers))):
            pass
    await drain(workers[0])

    assert await measured(conn, account, tokens) == used("0", 50)
    assert await differences(conn) == []


async def test_an_older_version_from_another_stream_is_kept_as_superseded(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", tokens=1), name="events:{1}")
    await later_than(redis, "events:{1}", account, called("a", tokens=2))

    await drain(aggregator(pool, redis, streams=2))

    assert await measured(conn, account, tokens) == used("2", 1)
    assert await states(conn) == ["live", "superseded"]


async def test_a_version_confirmed_in_one_stream_beats_an_earlier_one_of_another(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", tokens=1))
    await later_than(redis, NAME, account, called("a", tokens=2), name="events:{1}")
    await later_than(redis, "events:{1}", account, called("a", tokens=1))

    await drain(aggregator(pool, redis, streams=2))

    assert await measured(conn, account, tokens) == used("1", 1)


async def test_a_metric_born_while_events_are_counted_misses_and_doubles_nothing(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    small = aggregator(pool, redis, batch_events_max=1)
    for number in range(40):
        await accept(redis, account, called(f"e{number}"))

    _, *metrics = await asyncio.gather(drain(small), *(late_metric(pool, account, n) for n in range(3)))

    for one in metrics:
        assert await measured(conn, account, one) == used("40", 40)


async def late_metric(pool: Pool, account: Principal, number: int) -> Any:
    async with pool.acquire() as conn:
        return await make_metric(conn, account, name=f"late {number}")


async def later_than(redis: Redis, stream: str, account: Principal, *events: dict[str, Any], name: str = NAME) -> None:
    """Accept these after the clock has left the millisecond of the other stream's last entry."""
    last = (await redis.xinfo_stream(stream))["last-generated-id"].decode()
    while (await redis.time())[1] // 1_000 == int(last.split("-")[0]) % 1_000:
        pass
    await accept(redis, account, *events, name=name)


async def test_a_close_comes_after_those_that_were_asked_for_before(
    api: Server, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    """What replaces everything replaces what an earlier close brings, too."""
    loading, calls = Loading(api, pool, redis), await make_metric(conn, account)
    first, second = [await loading.open(replace=True) for _ in range(2)]
    await loading.load(first, called("loaded"))
    await api.made("/usage-events", called("live"))
    for backfill in (first, second):
        await api.made(f"/usage-backfills/{backfill}/close", None)
    # As if all was counted between the looks at the two.
    await conn.execute("update usage_backfill set ends = '{}' where id = $1", second)

    assert await loading.backfiller.step(NOW) == 0

    await drain(loading.counting)
    assert await loading.backfiller.step(NOW) == 2
    assert await measured(conn, account, calls) == used("0", 0)
