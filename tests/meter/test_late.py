"""What arrives late takes its place in the order of receipt: the last received wins, whatever was counted first."""

from typing import Any

import pytest
from redis.asyncio import Redis

from meter import count, entry, stream
from meter.aggregate import Aggregator
from store import stream_position
from store.account import Principal
from store.db import Connection, Pool
from store.metric import StoredMetric
from tests.backfill import Loading
from tests.server import Server
from tests.usage import (
    NOW,
    aggregator,
    at,
    block_of,
    called,
    definition,
    differences,
    drain,
    make_metric,
    measured,
    used,
)

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow

ZERO, ONE = "events:{0}", "events:{1}"


@pytest.fixture
async def tokens(conn: Connection, account: Principal) -> StoredMetric:
    return await make_metric(conn, account, definition("SUM", "tokens"))


async def received(redis: Redis, account: Principal, name: str, entry_id: str, *events: dict[str, Any]) -> None:
    await redis.xadd(name, {"blocks.1": entry.join([block_of(account, *events)])}, id=entry_id)


async def without(pool: Pool, counting: Aggregator, other: str) -> None:
    """Count one stream while somebody else has the other."""
    async with pool.acquire() as conn, conn.transaction():
        assert await stream_position.lock(conn, other) is not None
        await drain(counting)


@pytest.mark.parametrize("last", [ZERO, ONE])
async def test_entries_of_two_streams_with_one_id_are_both_remembered(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, tokens: StoredMetric, *, last: str
) -> None:
    counting = aggregator(pool, redis, streams=2)
    await counting.step(NOW)
    await received(redis, account, ZERO, "1000-0", called("a", tokens=1))
    await received(redis, account, ONE, "1000-0", called("a", tokens=2))

    await without(pool, counting, last)
    await drain(counting)

    assert await measured(conn, account, tokens) == used("2", 1)
    assert await conn.fetchval("select count(*) from event_version") == 2
    await received(redis, account, ZERO, "2000-0", called("a", tokens=1))
    await drain(counting)
    assert await measured(conn, account, tokens) == used("1", 1)
    assert await differences(conn) == []


@pytest.mark.parametrize("aggregation", ["SUM", "LATEST", "WEIGHTED", "MAX"])
async def test_an_older_version_that_arrives_later_gives_its_time_to_what_has_none(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, *, aggregation: str
) -> None:
    of = await make_metric(conn, account, definition(aggregation, "tokens"))
    counting = aggregator(pool, redis, streams=2)
    await counting.step(NOW)
    await received(redis, account, ZERO, "1000-0", called("a", tokens=1))
    await received(redis, account, ONE, "2000-0", called("a", when="", tokens=2), called("b", when="", tokens=7))

    await without(pool, counting, ZERO)
    assert (await measured(conn, account, of, start="2025-03-10", end="2025-03-11")).event_count == 2
    await drain(counting)

    assert (await measured(conn, account, of, start="2025-03-10", end="2025-03-11")).event_count == 1
    assert (await measured(conn, account, of, start="2025-03-01", end="2025-03-02")).event_count == 1
    found = await conn.fetch("select event_timestamp from usage_event where state = 'live' order by event_timestamp")
    assert [row["event_timestamp"] for row in found] == [at("2025-03-01T10:07"), NOW]
    assert await differences(conn) == []


async def test_a_repeat_of_what_a_backfill_brought_outlives_its_revert(
    api: Server, pool: Pool, conn: Connection, redis: Redis, account: Principal, tokens: StoredMetric
) -> None:
    loading = Loading(api, pool, redis)
    first, second = await loading.open(), await loading.open()
    await loading.load(first, called("live", tokens=1), called("loaded", tokens=2), called("gone", tokens=4))
    await loading.load(second, called("loaded", tokens=2))
    await loading.close(first)
    await loading.live(called("live", tokens=1))
    await loading.close(second)

    await loading.revert(first)

    assert await measured(conn, account, tokens) == used("3", 2)
    assert await differences(conn) == []
    await loading.revert(second)
    assert await measured(conn, account, tokens) == used("1", 1)
    assert await differences(conn) == []


async def test_a_repeat_that_is_counted_before_a_close_that_was_asked_for_earlier_wins(
    api: Server, pool: Pool, conn: Connection, redis: Redis, account: Principal, tokens: StoredMetric
) -> None:
    loading = Loading(api, pool, redis)
    await loading.live(called("a", tokens=1))
    backfill = await loading.open()
    await loading.load(backfill, called("a", tokens=2), called("b", tokens=2))
    await api.made(f"/usage-backfills/{backfill}/close", {})
    # Behind the place of the close, whatever the clock's resolution.
    last = await stream.last_id(redis, ZERO)
    assert last is not None
    await received(redis, account, ZERO, f"{stream_position.order(last)[0] + 1}-0", called("a", tokens=1))
    await drain(loading.counting)

    await loading.backfiller.step(NOW)

    assert await measured(conn, account, tokens) == used("3", 2)
    assert await differences(conn) == []


async def test_a_revert_gives_back_the_time_of_receipt(
    api: Server, pool: Pool, conn: Connection, redis: Redis, account: Principal, tokens: StoredMetric
) -> None:
    loading = Loading(api, pool, redis)
    backfill = await loading.open()
    await loading.load(backfill, called("a", tokens=1))
    await loading.close(backfill)
    await loading.live(called("a", when="", tokens=2))
    assert await measured(conn, account, tokens, end="2025-03-02") == used("2", 1)

    await loading.revert(backfill)

    assert await measured(conn, account, tokens, end="2025-03-02") == used("0", 0)
    assert await measured(conn, account, tokens, start="2025-03-10") == used("2", 1)
    assert await differences(conn) == []


async def test_a_letter_that_is_replayed_loses_to_a_repeat_that_was_received_later(
    pool: Pool,
    conn: Connection,
    redis: Redis,
    account: Principal,
    tokens: StoredMetric,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from meter import dead_letter  # noqa: PLC0415 - beside the module of the same name in store

    original = count.prepare

    async def fussy(conn: Connection, batch: Any, **options: Any) -> count.Prepared:
        if any(b'"tokens":2' in text for one in batch.blocks for text in one.block.properties):
            raise ValueError
        return await original(conn, batch, **options)

    counting = aggregator(pool, redis)
    for number, value in enumerate([1, 2, 1]):
        await received(redis, account, ZERO, f"{1000 + number}-0", called("a", tokens=value))
    with monkeypatch.context() as broken:
        broken.setattr(count, "prepare", fussy)
        await drain(counting)
    [letter] = await conn.fetch("select id from dead_letter")

    await dead_letter.replay(conn, account.account, letter=letter["id"], now=NOW)

    assert await measured(conn, account, tokens) == used("1", 1)
    assert await differences(conn) == []
