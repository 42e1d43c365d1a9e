"""The loop: bounded batches, one transaction each, nothing left behind by a failure, partitions made in time."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from meter import count, entry
from meter.aggregate import Aggregator
from store import stream_position
from store.account import Principal
from store.db import Connection, Pool
from tests.usage import (
    NOW,
    accept,
    aggregator,
    block_of,
    called,
    definition,
    differences,
    drain,
    make_metric,
    measured,
    used,
)

NAME = "events:{0}"


async def test_a_failure_anywhere_leaves_nothing_behind(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"), called("b"))
    monkeypatch.setattr(stream_position, "move", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await counting.step(NOW)
    monkeypatch.undo()
    for table in ("usage_event", "event_key", "usage_alias", "usage_slot", "usage_day"):
        assert await conn.fetchval(f"select count(*) from {table}") == 0

    # The numbers of aliases that were rolled back are not remembered either.
    await drain(counting)

    assert await measured(conn, account, calls) == used("2", 2)
    assert await differences(conn) == []


async def test_a_cancelled_step_leaves_nothing_behind(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()
    original = count.complete

    async def slow(*args: Any, **options: Any) -> count.Outcome:
        await original(*args, **options)
        reached.set()
        return await asyncio.Future()

    await accept(redis, account, called("a"))
    with monkeypatch.context() as paused:
        paused.setattr(count, "complete", slow)
        step = asyncio.create_task(counting.step(NOW))
        await reached.wait()
        step.cancel()
        await asyncio.wait([step])

    assert await conn.fetchval("select count(*) from usage_event") == 0
    assert await drain(counting) == 1


async def test_cancelling_a_step_at_any_await_loses_and_doubles_nothing(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", tokens=1), called("b", tokens=2), called("a", tokens=3))
    await drain(counting)
    await accept(redis, account, called("c", tokens=4), called("b", tokens=5), called("a", tokens=3))

    seen = set()
    for turns in range(1_000):
        step = asyncio.create_task(counting.step(NOW))
        # More and more turns of the loop, until the step is through before it is cancelled.
        for _ in range(turns * turns // 8):
            await asyncio.sleep(0)
        is_through = step.done()
        step.cancel()
        await asyncio.wait([step])
        seen.add(await measured(conn, account, tokens))
        if is_through:
            break

    assert seen == {used("5", 2), used("12", 3)}
    assert await differences(conn) == []


async def test_counting_goes_on_behind_a_foreign_entry(counting: Aggregator, redis: Redis, account: Principal) -> None:
    await redis.xadd(NAME, {"hello": "world"})
    await accept(redis, account, called("a"))

    assert await drain(counting) == 1


async def test_a_reborn_stream_is_counted_from_its_beginning(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"))
    await drain(aggregator(pool, redis))
    payload = (await redis.xrange(NAME))[0][1]
    await redis.delete(NAME)
    await redis.xadd(NAME, payload, id="5-0")
    await redis.xadd(NAME, {"blocks.1": entry.join([block_of(account, called("b"))])}, id="6-0")

    assert await drain(aggregator(pool, redis)) == 2
    assert await measured(conn, account, calls) == used("2", 2)


@pytest.mark.parametrize("is_back", [False, True])
async def test_a_stream_reborn_behind_a_clock_loses_nothing(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, *, is_back: bool
) -> None:
    counting = aggregator(pool, redis, batch_events_max=1)
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"))
    await drain(counting)
    await redis.delete(NAME)
    # The first entries' ids lie below the position, the last one's above it when the clock is right again.
    await accept_behind(redis, account, called("b"), id_="5-0")
    await accept_behind(redis, account, called("c"), called("a"), id_="6-0")
    if is_back:
        await accept(redis, account, called("d"))

    await look(counting)

    expected = 4 if is_back else 3
    assert await measured(conn, account, calls) == used(f"{expected}", expected)
    assert await differences(conn) == []


async def test_what_a_reborn_stream_takes_in_comes_after_what_was_counted(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    # The old server's clock was an hour ahead.
    ahead = f"{(await redis.time())[0] + 3_600}000-5"
    await accept_behind(redis, account, called("a", tokens=1), id_=ahead)
    await drain(counting)
    await redis.delete(NAME)
    await accept(redis, account, called("b", tokens=10))
    await look(counting)
    await accept(redis, account, called("a", tokens=2))
    await look(counting)

    assert await measured(conn, account, tokens) == used("12", 2)
    assert stream_position.order(await position_of(conn)) > stream_position.order(ahead)


async def test_a_server_without_memory_for_more_is_counted_from_its_beginning(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"))
    await drain(counting)
    await redis.delete(NAME)
    await accept_behind(redis, account, called("b"), id_="5-0")
    await redis.config_set("maxmemory", 1)
    try:
        await look(counting)
    finally:
        await redis.config_set("maxmemory", 0)

    assert await measured(conn, account, calls) == used("2", 2)
    assert await position_of(conn) == "5-0"


async def test_a_stream_that_is_full_of_what_is_counted_makes_room_by_itself(
    pool: Pool, redis: Redis, account: Principal
) -> None:
    # Nodes of 100 go as a whole, and half of the time is not half of the entries.
    for number in range(600):
        await accept(redis, account, called(f"e{number}"))
    counting = aggregator(pool, redis, stream_bytes_max=1 << 40, stream_entries_max=1 << 40)
    await drain(counting)
    before = await redis.xlen(NAME)
    quiet = aggregator(pool, redis, stream_entries_max=20)

    for second in range(100):
        await quiet.step(NOW + timedelta(seconds=second))

    assert await redis.xlen(NAME) < before == 600


async def test_a_database_that_was_set_back_is_noticed_without_new_events(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"))
    await drain(counting)
    await conn.execute("truncate usage_event, event_key, usage_slot, usage_day")
    await conn.execute("update stream_position set position = '0-0'")

    assert sum([await counting.step(NOW) for _ in range(100)]) == 1
    assert await measured(conn, account, calls) == used("1", 1)


async def test_alias_numbers_of_another_life_of_the_database_are_forgotten(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a"))
    await drain(counting)
    await conn.execute("truncate usage_event, event_key, usage_slot, usage_day, usage_alias")
    await accept(redis, account, called("b"))
    counting._incarnation = "before the restore"

    await drain(counting)

    assert await conn.fetchval("select value from usage_alias join usage_event using (account, alias)") == "acme"


async def test_a_position_set_back_counts_nothing_twice(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    for number in range(5):
        await accept(redis, account, called(f"e{number}"), called("twice", n=number))
    await drain(aggregator(pool, redis))
    await conn.execute("update stream_position set position = '0-0'")

    assert await drain(aggregator(pool, redis)) == 10
    assert await measured(conn, account, calls) == used("6", 6)


async def test_a_transaction_takes_no_more_than_it_may(pool: Pool, redis: Redis, account: Principal) -> None:
    for number in range(30):
        await accept(redis, account, called(f"e{number}"))
    small = aggregator(pool, redis, batch_events_max=12)

    assert [await small.step(NOW) for _ in range(4)] == [12, 12, 6, 0]


async def test_a_step_with_nothing_to_do_asks_postgres_nothing(
    counting: Aggregator, pool: Pool, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a"))
    await drain(counting)
    await pool.close()

    assert await counting.step(NOW) == 0


async def test_partitions_are_made_two_months_ahead(counting: Aggregator, conn: Connection) -> None:
    for now in (datetime(2025, 11, 30, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC)):
        await counting.step(now)

    assert await partitions(conn) == [
        *("usage_event_2025_11", "usage_event_2025_12", "usage_event_2026_01", "usage_event_2026_02"),
        "usage_event_default",
    ]


async def test_events_lie_in_the_partition_of_their_receipt(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a", when="2024-01-01T00:00:00Z"), now=NOW + timedelta(days=31))

    await drain(counting)

    assert await conn.fetchval("select tableoid::regclass::text from usage_event") == "usage_event_2025_04"


async def test_events_beyond_every_partition_are_kept_all_the_same(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"), now=NOW + timedelta(days=400))

    await drain(counting)

    assert await measured(conn, account, calls) == used("1", 1)


async def test_a_month_that_has_events_in_the_default_partition_stops_nothing(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    later = NOW + timedelta(days=400)
    await accept(redis, account, called("a"), now=later)
    await drain(counting)
    await accept(redis, account, called("b"), now=later)

    await drain(counting, later)

    assert await measured(conn, account, calls) == used("2", 2)
    # April 2026 stays where it was caught; the months after it have theirs.
    assert [name for name in await partitions(conn) if "2026" in name] == ["usage_event_2026_05", "usage_event_2026_06"]


async def look(counting: Aggregator) -> None:
    """Step for so long that a quiet stream is looked at again."""
    for _ in range(100):
        await counting.step(NOW)


async def accept_behind(redis: Redis, account: Principal, *events: Any, id_: str) -> str:
    """Let events in as a server would whose clock says something else."""
    added = await redis.xadd(NAME, {"blocks.1": entry.join([block_of(account, *events)])}, id=id_)
    return str(added.decode())


async def position_of(conn: Connection) -> str:
    return str(await conn.fetchval("select position from stream_position"))


async def partitions(conn: Connection) -> list[str]:
    rows = await conn.fetch(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'usage_event'::regclass order by 1"
    )
    return [row["name"] for row in rows]
