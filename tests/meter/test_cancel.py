"""Cancellations travel the streams like events; whatever stream is read first, the order of receipt decides."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from meter import entry, event, timestamp
from meter.aggregate import Aggregator
from store.account import Principal
from store.db import Connection, Pool
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
    states,
    used,
)


def cancellation_of(account: Principal, id_: str) -> bytes:
    received_at = timestamp.microseconds(NOW)
    one = event.cancellation(id_, received_at=received_at)
    return entry.encode_block(entry.block([one], account=account.account, received_at=received_at))


async def send(redis: Redis, account: Principal, *sent: dict[str, Any] | str, name: str = "events:{0}") -> None:
    """Events, and ids to cancel, as one entry."""
    blocks = [cancellation_of(account, one) if isinstance(one, str) else block_of(account, one) for one in sent]
    await redis.xadd(name, {b"blocks.1": entry.join(blocks)})


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_a_cancelled_event_does_not_count_and_stays_listed(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, *, in_one_batch: bool
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    for one in (called("a", tokens=5), called("b", tokens=1), "a", "a"):
        await send(redis, account, one)
        if not in_one_batch:
            await drain(counting)
    await drain(counting)

    assert await measured(conn, account, tokens) == used("1", 1)
    assert await states(conn) == ["cancelled", "live"]
    assert await differences(conn) == []


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_the_same_content_after_a_cancellation_is_a_duplicate_and_other_content_revives(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, *, in_one_batch: bool
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    for one in (called("a", tokens=5), "a", called("a", tokens=5)):
        await send(redis, account, one)
        if not in_one_batch:
            await drain(counting)
    await drain(counting)
    assert await measured(conn, account, tokens) == used("0", 0)

    await send(redis, account, called("a", tokens=7))
    await drain(counting)

    assert await measured(conn, account, tokens) == used("7", 1)
    assert await states(conn) == ["live", "superseded"]
    assert await differences(conn) == []


async def test_what_was_cancelled_before_it_was_sent_counts_when_it_is_sent(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await send(redis, account, "a", "a")
    await drain(counting)
    assert await differences(conn) == []

    await send(redis, account, called("a"))
    await drain(counting)

    assert await measured(conn, account, calls) == used("1", 1)
    assert await differences(conn) == []


async def test_a_cancellation_that_overtakes_its_event_still_cancels_it(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    sharded = aggregator(pool, redis, streams=2)
    await redis.xadd("events:{1}", {b"blocks.1": entry.join([cancellation_of(account, "a")])}, id="2000-0")
    await drain(sharded)

    await redis.xadd("events:{0}", {b"blocks.1": entry.join([block_of(account, called("a"))])}, id="1000-0")
    await drain(sharded)

    assert await measured(conn, account, calls) == used("0", 0)
    assert await states(conn) == ["cancelled"]
    assert await differences(conn) == []


async def test_a_cancellation_names_an_event_by_its_public_id_too(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await send(redis, account, called("a"))
    await drain(counting)
    key = await conn.fetchval("select key from event_key")

    await send(redis, account, str(key))
    await drain(counting)

    assert await measured(conn, account, calls) == used("0", 0)


async def test_a_cancellation_makes_no_alias_and_no_row(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await send(redis, account, "a")

    await drain(counting)

    assert await conn.fetchval("select count(*) from usage_alias") == 0
    assert await conn.fetchval("select count(*) from usage_event") == 0


THINGS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.sampled_from([1, 2, 3, None])), min_size=1, max_size=14
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(things=THINGS, turns=st.lists(st.integers(0, 2), max_size=20))
async def test_counters_follow_the_order_of_receipt_through_any_streams(
    pool: Pool,
    conn: Connection,
    redis: Redis,
    account: Principal,
    things: list[tuple[int, str, int | None]],
    turns: list[int],
) -> None:
    await start_over(conn, redis)
    tokens = await make_metric(conn, account, definition("SUM", "tokens"), name="tokens")
    for place, (stream, id_, content) in enumerate(things, start=1):
        block = cancellation_of(account, id_) if content is None else block_of(account, called(id_, tokens=content))
        await redis.xadd(f"events:{{{stream}}}", {b"blocks.1": entry.join([block])}, id=f"{1000 + place}-0")
    # One entry of one stream at a time, in an order that has nothing to do with the order of receipt.
    slow = aggregator(pool, redis, streams=3, batch_events_max=1)
    await slow._prepare(NOW)
    for stream in turns:
        await slow._step(f"events:{{{stream}}}", NOW)

    await drain(slow)

    expected = [content for content in map(naive(things).get, "ab") if content is not None]
    assert await measured(conn, account, tokens) == used(str(sum(expected)), len(expected))
    assert await differences(conn) == []


def naive(things: list[tuple[int, str, int | None]]) -> dict[str, int | None]:
    """What counts of each id, in the order of receipt, said without a thought for streams."""
    contents: dict[str, int] = {}
    cancelled: set[str] = set()
    for _, id_, content in things:
        if content is None:
            cancelled.add(id_)
        elif contents.get(id_) != content:
            contents[id_] = content
            cancelled.discard(id_)
    return {id_: None if id_ in cancelled else content for id_, content in contents.items()}


async def start_over(conn: Connection, redis: Redis) -> None:
    await redis.flushall()
    await conn.execute(
        "truncate stream_position, event_key, event_version, usage_event, usage_alias, usage_slot, usage_day,"
        " usage_unique, usage_metric, usage_metric_version cascade"
    )
