"""What a process that hangs keeps from others is not lost with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

import asyncpg
import pytest
from redis.asyncio import Redis

from meter.eviction import Evictions
from store import copy, counting, db, eviction, stream_position
from store.account import Principal
from tests.usage import NOW, accept, aggregator, called

NAME = "events:{0}"
COPYING = """
select exists (
    select from pg_stat_activity
    where datname = current_database() and state = 'active' and wait_event = 'ClientRead' and query ilike 'copy%'
)
"""


Begin: TypeAlias = Callable[[db.Connection], Awaitable[object]]


async def lease(conn: db.Connection) -> None:
    """Be the one who counts the stream."""
    await stream_position.ensure(conn, [NAME])
    await stream_position.lock(conn, NAME)


async def batch(conn: db.Connection) -> None:
    """Have begun with a batch, whoever has the lease."""
    await counting.hold(conn, [])


@pytest.fixture(params=[lease, batch])
def begin(request: pytest.FixtureRequest) -> Begin:
    """What is begun by whoever hangs."""
    begin: Begin = request.param
    return begin


@pytest.fixture
async def goes_on(database_url: str, conn: db.Connection, begin: Begin) -> AsyncIterator[asyncio.Event]:
    """Somebody has begun, and does not go on with its rows; when this is set it does, a little."""
    other = await asyncpg.connect(database_url)
    goes_on = asyncio.Event()
    task = asyncio.create_task(_hang(other, begin, goes_on))
    async with asyncio.timeout(10):
        while not await conn.fetchval(COPYING):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)
    yield goes_on
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await task
    other.terminate()


async def _hang(conn: db.Connection, begin: Begin, goes_on: asyncio.Event) -> None:
    async with conn.transaction():
        await begin(conn)
        await conn.copy_to_table("dead_letter", source=_rows(goes_on), format="binary")


async def _rows(goes_on: asyncio.Event) -> AsyncIterator[bytes]:
    yield copy.HEAD[:11]
    await goes_on.wait()
    yield copy.HEAD[11:]
    await asyncio.Event().wait()


async def _ended(conn: db.Connection) -> None:
    async with asyncio.timeout(10):
        while await eviction.waits(conn):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("goes_on")
async def test_whoever_hangs_in_the_middle_of_its_rows_is_ended(conn: db.Connection) -> None:
    [wait] = await eviction.waits(conn)
    assert await eviction.evict(conn, [wait]) == 1

    await _ended(conn)
    async with conn.transaction():
        # It would wait for everybody who has begun.
        await counting.stop(conn)
        await stream_position.wait(conn, NAME)


async def test_whoever_is_slow_goes_on(conn: db.Connection, goes_on: asyncio.Event) -> None:
    """However long a statement takes, its next piece makes another wait of it."""
    before = await eviction.waits(conn)
    goes_on.set()
    async with asyncio.timeout(10):
        while (after := await eviction.waits(conn)) in (before, []):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)

    assert await eviction.evict(conn, before) == 0
    assert await eviction.waits(conn) == after != []


async def test_whoever_is_between_two_statements_is_no_case_of_ours(
    conn: db.Connection, pool: db.Pool, begin: Begin
) -> None:
    async with pool.acquire() as other, other.transaction():
        await begin(other)

        assert await eviction.waits(conn) == []


async def test_whoever_keeps_nobody_from_counting_may_hang(conn: db.Connection, database_url: str) -> None:
    other = await asyncpg.connect(database_url)
    copying = asyncio.create_task(other.copy_to_table("dead_letter", source=_rows(asyncio.Event()), format="binary"))
    async with asyncio.timeout(10):
        while not await conn.fetchval(COPYING):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)

    assert await eviction.waits(conn) == []

    copying.cancel()
    await asyncio.wait([copying])
    await other.close()


@pytest.mark.usefixtures("goes_on")
async def test_an_aggregator_ends_whoever_hangs_for_a_minute(
    pool: db.Pool, conn: db.Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a"))
    evictions = Evictions(pool)

    assert [await evictions.step(NOW + timedelta(seconds=seconds)) for seconds in (0, 50)] == [0, 0]
    assert len(await eviction.waits(conn)) == 1
    assert await evictions.step(NOW + timedelta(seconds=61)) == 1

    await _ended(conn)
    assert await aggregator(pool, redis).step(NOW) == 1
