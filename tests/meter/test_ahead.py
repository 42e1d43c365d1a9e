"""A batch that is begun while the one before it is counted: it is committed behind it, or leaves nothing behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from meter import dead_letter
from meter.aggregate import Aggregator
from store import db, stream_position
from store.account import Principal
from store.db import Connection, Pool
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
    used,
)

NAME = "events:{0}"
BEGUN = "select pid from pg_stat_activity where datname = current_database() and state = 'idle in transaction'"
# It has stored rows, and waits.
PREPARED = f"""
select pid from ({BEGUN}) as begun join pg_locks using (pid)
where relation = 'usage_event'::regclass and mode = 'RowExclusiveLock'
"""

WAITING = "select pid from pg_stat_activity where datname = current_database() and wait_event = 'relation'"


@pytest.fixture
async def eager(pool: Pool, redis: Redis) -> AsyncIterator[Aggregator]:
    """One that begins with the next batch however small both are."""
    async with contextlib.aclosing(aggregator(pool, redis, batch_events_max=2, ahead_events_min=1)) as counting:
        yield counting


async def begun(conn: Connection) -> int:
    """Wait until a batch is begun and prepared; answers which process of Postgres has it."""
    async with asyncio.timeout(10):
        while not (pid := await conn.fetchval(PREPARED)):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)
    return int(pid)


async def send(redis: Redis, account: Principal, *numbers: int, tokens: int = 1) -> None:
    """Batches of two events."""
    for number in numbers:
        await accept(redis, account, *(called(f"{number}{half}", tokens=tokens) for half in "ab"))


async def test_the_next_batch_is_stored_before_this_one_is_taken(
    eager: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await send(redis, account, 1, 2, 3)

    assert await eager.step(NOW) == 2
    await begun(conn)

    # Nobody else sees it.
    assert await conn.fetchval("select count(*) from usage_event") == 2
    assert await measured(conn, account, calls) == used("2", 2)
    assert await drain(eager) == 4
    assert await measured(conn, account, calls) == used("6", 6)
    assert await differences(conn) == []


async def test_what_is_begun_and_not_taken_leaves_nothing_behind(
    eager: Aggregator, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    await send(redis, account, 1, 2)
    await eager.step(NOW)
    await begun(conn)

    await eager.aclose()

    assert await conn.fetchval(BEGUN) is None
    for table in ("usage_event", "event_key"):
        assert await conn.fetchval(f"select count(*) from {table}") == 2
    assert await drain(aggregator(pool, redis)) == 2


async def test_a_connection_that_is_lost_with_what_is_begun_is_replaced(
    eager: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    """As Postgres does with what is begun if the batch before it takes half a minute."""
    calls = await make_metric(conn, account)
    await send(redis, account, 1, 2, 3)
    await eager.step(NOW)
    await conn.fetch("select pg_terminate_backend($1, 10000)", await begun(conn))
    await asyncio.sleep(0.1)

    assert await drain(eager) == 4
    assert await measured(conn, account, calls) == used("6", 6)
    assert await differences(conn) == []


async def test_where_there_is_no_second_connection_one_transaction_follows_the_other(
    database_url: str, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await send(redis, account, *range(5))
    role = f"lonely_{await conn.fetchval('select pg_backend_pid()')}"
    await conn.execute(f"create role {role} login connection limit 1 in role usance")
    url = urlsplit(database_url)

    try:
        async with (
            await db.connect_pool(url._replace(netloc=f"{role}@{url.netloc.rpartition('@')[2]}").geturl()) as lonely,
            contextlib.aclosing(aggregator(lonely, redis, batch_events_max=2, ahead_events_min=1)) as counting,
        ):
            assert await drain(counting) == 10
    finally:
        await conn.execute(f"reassign owned by {role} to usance; drop role {role}")

    assert await measured(conn, account, calls) == used("10", 10)


async def test_a_step_that_is_cancelled_as_it_takes_what_is_begun_lets_go_of_it(
    eager: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await send(redis, account, 1, 2, 3)
    await eager.step(NOW)
    step = asyncio.create_task(eager.step(NOW))
    [task] = eager._ahead._begun.values()
    task.add_done_callback(lambda _: step.cancel())

    with pytest.raises(asyncio.CancelledError):
        await step

    assert await conn.fetchval(BEGUN) is None
    assert await drain(eager) == 4


async def test_what_is_begun_ends_with_the_batch_before_it(
    eager: Aggregator, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    # An alias that is new in a batch is not known to the next one before.
    await send(redis, account, 0)
    await drain(eager)
    await send(redis, account, 1, 2, 3)

    async with pool.acquire() as other, other.transaction():
        await other.execute("lock table usage_slot in exclusive mode")
        step = asyncio.create_task(eager.step(NOW))
        async with asyncio.timeout(10):
            while not (pid := await conn.fetchval(WAITING)):  # noqa: ASYNC110 another session
                await asyncio.sleep(0.01)
            while len(await conn.fetch(BEGUN)) < 2:  # noqa: ASYNC110 another session, beside the one of this test
                await asyncio.sleep(0.01)
        await conn.fetch("select pg_terminate_backend($1)", pid)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await step
        assert await conn.fetchval("select count(*) from usage_event") == 2

    async with asyncio.timeout(10):
        assert await drain(eager) == 6
    assert await measured(conn, account, calls) == used("8", 8)
    assert await differences(conn) == []


async def test_a_connection_that_was_lost_before_it_is_discarded_is_no_error(
    eager: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await send(redis, account, 1, 2)
    await eager.step(NOW)
    await conn.fetch("select pg_terminate_backend($1)", await begun(conn))

    await eager.aclose()

    assert await drain(eager) == 2


async def test_whoever_gets_the_stream_between_does_not_wait_for_what_is_begun(
    eager: Aggregator, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    """As the replay of a dead letter, which waits for the lease."""
    calls = await make_metric(conn, account)
    await send(redis, account, *range(6))
    await eager.step(NOW)
    await begun(conn)

    async with pool.acquire() as other, other.transaction(), asyncio.timeout(20):
        waiting = asyncio.create_task(stream_position.wait(other, NAME))
        while not waiting.done():
            await eager.step(NOW)
            await asyncio.sleep(0.01)
        assert await eager.step(NOW) == 0
        # What was begun held ids that the other one wants.
        left = {row["pid"] for row in await conn.fetch(BEGUN)}
        assert left == {await other.fetchval("select pg_backend_pid()")}

    assert await drain(eager) > 0
    assert await measured(conn, account, calls) == used("12", 12)
    assert await differences(conn) == []


async def test_who_has_begun_nothing_passes_a_stream_by_behind_which_somebody_has(
    eager: Aggregator, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    """It would wait for the ids of what is begun."""
    await send(redis, account, 1, 2, 3)
    await eager.step(NOW)
    await begun(conn)
    other = aggregator(pool, redis)

    assert await other.step(NOW) == 0
    await eager.aclose()

    assert await other.step(NOW) == 4


async def test_aggregators_at_once_count_each_event_once(
    eager: Aggregator, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await send(redis, account, *range(30))

    async with (
        asyncio.timeout(30),
        contextlib.aclosing(aggregator(pool, redis, batch_events_max=2, ahead_events_min=1)) as other,
    ):
        while (await measured(conn, account, calls)).event_count < 60:
            await asyncio.gather(eager.step(NOW), other.step(NOW))

    assert await measured(conn, account, calls) == used("60", 60)
    assert await differences(conn) == []


async def test_another_stream_of_the_same_name_is_counted_from_its_beginning(
    eager: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await send(redis, account, 1, 2)
    await eager.step(NOW)
    await begun(conn)

    # What was begun is lost with it.
    await redis.flushall()
    await send(redis, account, 3, 4, tokens=5)
    for _ in range(4):
        await eager.step(NOW)

    assert await measured(conn, account, tokens) == used("22", 6)
    assert await differences(conn) == []


@pytest.mark.parametrize("is_free", [True, False])
async def test_what_comes_too_late_to_say_so_is_prepared_if_the_stream_is_free(
    eager: Aggregator, pool: Pool, redis: Redis, account: Principal, *, is_free: bool
) -> None:
    await eager.step(NOW)
    await send(redis, account, 1, 2)
    found = await eager._reader.read(NAME, stream_position.START)
    assert found is not None

    async with pool.acquire() as other, other.transaction():
        if not is_free:
            await stream_position.lock(other, NAME)
        eager._ahead.begin(NAME, found)
        eager._ahead.lapse(NAME)
        begun = await eager._ahead.take(NAME)

    async with begun.scope:
        assert (begun.prepared is not None) == is_free


async def test_the_first_step_of_a_day_waits_for_nothing_that_is_begun(
    eager: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    """New partitions have the table for themselves."""
    await send(redis, account, 1, 2, 3)
    await eager.step(NOW)
    await begun(conn)

    async with asyncio.timeout(10):
        assert await eager.step(NOW + timedelta(days=100)) == 2


async def test_one_connection_is_enough(database_url: str, conn: Connection, redis: Redis, account: Principal) -> None:
    """Then one transaction follows the other."""
    calls = await make_metric(conn, account)
    await send(redis, account, *range(5))

    async with (
        await db.connect_pool(database_url, max_size=1) as single,
        contextlib.aclosing(aggregator(single, redis, batch_events_max=2, ahead_events_min=1)) as counting,
        asyncio.timeout(20),
    ):
        assert await drain(counting) == 10

    assert await measured(conn, account, calls) == used("10", 10)


async def test_a_metric_is_born_behind_what_is_begun(
    eager: Aggregator, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    await send(redis, account, *range(10))
    await eager.step(NOW)
    await begun(conn)

    async with pool.acquire() as other, asyncio.timeout(20):
        birth = asyncio.create_task(make_metric(other, account))
        await asyncio.sleep(0.05)
        assert not birth.done()
        await drain(eager)
        calls = await birth

    assert await measured(conn, account, calls) == used("20", 20)
    assert await differences(conn) == []


async def test_a_letter_that_bears_an_id_of_what_is_begun_is_counted_once(
    eager: Aggregator, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await conn.execute("alter table usage_event add constraint poison check (properties not like '%66%') not valid")
    await accept(redis, account, called("2a", tokens=66))
    await drain(eager)
    await conn.execute("alter table usage_event drop constraint poison")
    await send(redis, account, 1, 2, tokens=5)
    await eager.step(NOW)
    await begun(conn)

    letter = await conn.fetchval("select id from dead_letter")
    async with pool.acquire() as other, asyncio.timeout(20):
        replay = asyncio.create_task(dead_letter.replay(other, account.account, letter=letter, now=NOW))
        while not replay.done():
            await eager.step(NOW)
            await asyncio.sleep(0.01)
        await replay
    await drain(eager)

    assert await measured(conn, account, tokens) == used("20", 4)
    assert await differences(conn) == []


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([1, 1, 2])), min_size=1, max_size=3),
        min_size=1,
        max_size=12,
    )
)
async def test_the_last_version_of_each_id_counts_wherever_batches_end(
    eager: Aggregator, conn: Connection, redis: Redis, account: Principal, entries: list[list[tuple[str, int]]]
) -> None:
    """Repeats and corrections within a batch, and of what is not committed yet."""
    run = await conn.fetchval("select gen_random_uuid()::text")
    tokens = await make_metric(conn, account, definition("SUM", "tokens"), name=run)
    expected: dict[str, int] = {}
    for entry in entries:
        sent: list[dict[str, Any]] = [called(f"{run}{id_}", alias=run, tokens=value) for id_, value in entry]
        await accept(redis, account, *sent)
        expected |= dict(entry)

    await drain(eager)

    found = await measured(conn, account, tokens, run)
    assert (int(found.value), found.event_count) == (sum(expected.values()), len(expected))
    assert await differences(conn) == []
