"""Repeats are forgotten when nothing can come before them any more, and not a moment earlier."""

from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from meter import entry, event, timestamp
from meter.repeat import Repeats
from store import dead_letter, stream_position
from store.account import Principal
from store.db import Connection, Pool
from store.dead_letter import NewLetter
from store.metric import StoredMetric
from tests.usage import (
    NOW,
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

ZERO, ONE = "events:{0}", "events:{1}"
AT = timestamp.microseconds(NOW) // 1_000
LATER = NOW + timedelta(hours=2)


@pytest.fixture
async def tokens(conn: Connection, account: Principal) -> StoredMetric:
    return await make_metric(conn, account, definition("SUM", "tokens"))


@pytest.fixture
def repeats(pool: Pool, redis: Redis) -> Repeats:
    return Repeats(pool, redis, streams=2)


async def received(redis: Redis, account: Principal, name: str, ms: int, *events: dict[str, Any]) -> None:
    """Accept these at so many milliseconds after now."""
    await redis.xadd(name, {"blocks.1": entry.join([block_of(account, *events)])}, id=f"{AT + ms}-0")


async def cancelled(redis: Redis, account: Principal, ms: int) -> None:
    taken = [event.cancellation("a", received_at=AT)]
    block = entry.encode_block(entry.block(taken, account=account.account, received_at=AT))
    await redis.xadd(ZERO, {"blocks.1": entry.join([block])}, id=f"{AT + ms}-0")


async def history(conn: Connection) -> list[int]:
    rows = await conn.fetch("select entry_ms from event_version order by entry_ms, entry_index")
    return [row["entry_ms"] - AT for row in rows]


async def test_repeats_are_forgotten_and_versions_are_kept(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, repeats: Repeats, tokens: StoredMetric
) -> None:
    for ms, number in enumerate([1, 1, 1, 2, 2, 1, 1]):
        await received(redis, account, (ZERO, ONE)[ms % 2], ms, called("a", tokens=number))
    for ms in (10, 11):
        await cancelled(redis, account, ms)
    await drain(aggregator(pool, redis, streams=2))
    assert await history(conn) == [0, 1, 2, 3, 4, 5, 6, 10, 11]

    assert await repeats.step(NOW) == 0
    assert await history(conn) == [0, 1, 2, 3, 4, 5, 6, 10, 11]

    await repeats.step(LATER)
    assert await history(conn) == [0, 3, 5, 10]
    await received(redis, account, ZERO, 20, called("a", tokens=1))
    await drain(aggregator(pool, redis, streams=2))
    assert await measured(conn, account, tokens) == used("0", 0)
    await received(redis, account, ZERO, 21, called("a", tokens=2))
    await drain(aggregator(pool, redis, streams=2))
    assert await measured(conn, account, tokens) == used("2", 1)
    assert await differences(conn) == []


async def test_a_stream_that_is_not_counted_keeps_what_it_may_change(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, repeats: Repeats, tokens: StoredMetric
) -> None:
    counting = aggregator(pool, redis, streams=2)
    await counting.step(NOW)
    for ms, name in enumerate([ZERO, ONE, ZERO]):
        await received(redis, account, name, ms, called("a", tokens=1 + ms % 2))
    async with pool.acquire() as other, other.transaction():
        assert await stream_position.lock(other, ONE) is not None
        await drain(counting)
        await repeats.step(LATER)
        assert await history(conn) == [0, 2]

    await drain(counting)

    assert await measured(conn, account, tokens) == used("1", 1)


async def test_a_letter_that_waits_keeps_what_it_may_change(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, repeats: Repeats
) -> None:
    for ms in (0, 5):
        await received(redis, account, ZERO, ms, called("a", tokens=1))
    await drain(aggregator(pool, redis, streams=2))
    letter = NewLetter(
        id=account.account_id, account=None, order=(AT + 3, 0, 0), key=None, content=b"", code="X", reason="x"
    )
    await dead_letter.add(conn, [letter], stream=ZERO, now=NOW)

    await repeats.step(LATER)

    assert await history(conn) == [0, 5]


async def test_pieces_are_bounded_and_come_to_an_end(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    for ms in range(9):
        await received(redis, account, ZERO, ms, called("a"), called("b"))
    await drain(aggregator(pool, redis, streams=2))
    small = Repeats(pool, redis, streams=2, piece_items_max=4)
    steps = 0
    while await small.step(LATER):
        steps += 1

    assert steps == 4
    assert await history(conn) == [0, 0]
