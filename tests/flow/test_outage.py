"""A server goes away and comes back: nothing that was accepted is lost, nothing is accepted that could be."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from meter import stream
from meter.error import StreamUnavailable
from runtime import embedded, process
from store import db, usage
from store.account import Principal
from store.db import Connection, Pool
from tests.usage import accept, aggregator, another_account, called, drain, make_metric, measured, used

# A deadline, not a promise: the machine may be busy with other things.
SECONDS_MAX = 180


@pytest.mark.slow
async def test_the_aggregator_catches_up_by_itself_when_postgres_comes_back(tmp_path: Path, redis: Redis) -> None:
    server = embedded.start_postgres(tmp_path, durable=False)
    await db.migrate(server.url)
    pool = await db.connect_pool(server.url)
    async with pool.acquire() as conn:
        account = await another_account(conn)
        calls = await make_metric(conn, account)
    counting, stop = aggregator(pool, redis), asyncio.Event()
    await accept(redis, account, called("a"))
    await drain(counting)

    server.stop()
    serving = asyncio.create_task(process.serve(counting.step, stop, name="aggregate", idle_seconds=0.01))
    await accept(redis, account, called("b"), called("a"))
    server = embedded.start_postgres(tmp_path, durable=False)

    async with asyncio.timeout(SECONDS_MAX), pool.acquire() as conn:
        while not await usage.counted_past(conn, await stream.ends(redis, stream.names(1))):  # noqa: ASYNC110 its rows
            await asyncio.sleep(0.05)
        assert await measured(conn, account, calls) == used("2", 2)
    stop.set()
    await serving
    await pool.close()
    server.stop()


@pytest.mark.slow
async def test_events_are_accepted_again_when_redis_comes_back(
    pool: Pool, conn: Connection, account: Principal, tmp_path: Path
) -> None:
    server = embedded.start_valkey(tmp_path / "valkey")
    redis = stream.connect(server.url)
    calls = await make_metric(conn, account)
    counting = aggregator(pool, redis)
    await accept(redis, account, called("a"))

    server.stop()
    with pytest.raises(StreamUnavailable):
        await accept(redis, account, called("b"))

    again = embedded.start_valkey(tmp_path / "valkey")
    await accept(redis, account, called("c"))
    assert await drain(counting) == 2
    assert await measured(conn, account, calls) == used("2", 2)
    await redis.aclose()
    again.stop()
