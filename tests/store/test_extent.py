"""The first and the last event of a range, found by a walk from its ends that stops where it can."""

from typing import Any

import pytest
from redis.asyncio import Redis

from store import extent
from store.account import Principal
from store.db import Connection, Pool
from store.metric import StoredMetric
from store.usage import Question, Segment
from tests.usage import accept, aggregator, at, called, definition, drain, make_metric

# More than the first step of a walk looks at.
MANY = 3 * extent._STEP_EVENTS


async def test_events_that_do_not_count_are_walked_past(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    others = [called(f"o{n}", when=f"2025-03-01T10:{n // 60:02}:{n % 60:02}Z", kind="no") for n in range(MANY)]
    mine = [called(f"m{minute}", when=f"2025-03-01T10:{minute}:00Z", kind="yes") for minute in ("02", "03", "04")]
    later = [called(f"l{n}", when=f"2025-03-01T10:05:{n % 60:02}Z", kind="no") for n in range(MANY)]
    await accept(redis, account, *others, *mine, *later)
    await drain(aggregator(pool, redis))
    metric = await make_metric(conn, account, definition(property_filters={"kind": ["yes"]}))

    assert await found(conn, account, metric) == ["m02", "m04"]


@pytest.mark.parametrize("events", [2, extent._STEP_EVENTS, MANY])
async def test_at_one_instant_the_order_of_receipt_decides(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, events: int
) -> None:
    await accept(redis, account, *[called(f"e{n}") for n in range(events)])
    await drain(aggregator(pool, redis))
    metric = await make_metric(conn, account)

    assert await found(conn, account, metric) == ["e0", f"e{events - 1}"]


async def test_quarter_hours_whose_events_lie_outside_are_passed(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    whens = {"early": "10:01", "first": "10:20", "last": "10:31", "late": "10:44"}
    await accept(redis, account, *[called(name, when=f"2025-03-01T{when}:00Z") for name, when in whens.items()])
    await drain(aggregator(pool, redis))
    metric = await make_metric(conn, account)

    assert await found(conn, account, metric, start="2025-03-01T10:05", end="2025-03-01T10:40") == ["first", "last"]


async def found(
    conn: Connection, account: Principal, of: StoredMetric, *, start: str = "2025-03-01", end: str = "2025-03-02"
) -> list[Any]:
    question = Question(of.terms, (Segment("acme", at(start), at(end)),))
    ends = await extent.extent(conn, account.account, question)
    return [await conn.fetchval("select customer_event_id from usage_event where key = $1", key) for key in ends]
