"""A metric that is born while events arrive counts each of them once, however its history is cut into pieces."""

import asyncio

import pytest
from redis.asyncio import Redis

from meter.history import History
from store import metric
from store.account import Principal
from store.db import Connection, Pool
from store.metric import StoredMetric
from tests.usage import NOW, accept, aggregator, called, definition, differences, drain, make_metric, measured, used

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow

STREAMS = ("events:{0}", "events:{1}")


@pytest.fixture(autouse=True)
def _little_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meter.history.FIRST_EVENTS_MAX", 1)


async def folded(pool: Pool, *, piece_events_max: int = 3) -> int:
    """Fold every history to its end; answers in how many pieces."""
    history, pieces = History(pool, piece_events_max=piece_events_max), 0
    while await history.step():
        pieces += 1
    return pieces


async def complete(conn: Connection, account: Principal, of: StoredMetric) -> bool:
    return (await metric.get(conn, account.account, metric=of.id)).history.is_complete


async def test_births_corrections_and_history_meet_while_events_arrive(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    made: list[StoredMetric] = []

    async def send(name: str, round_: int) -> None:
        # Each round corrects what the one before sent, through the other stream as well.
        events = [called(f"e{n}", alias=f"a{n % 3}", n=n + round_, model=f"m{n % 2}") for n in range(0, 60, 2)]
        await accept(redis, account, *events, name=name)

    async def bear() -> None:
        for number, aggregation in enumerate(("SUM", "MAX", "UNIQUE", "WEIGHTED")):
            async with pool.acquire() as own:
                how = definition(aggregation, "n", group_by=("model",))
                made.append(await make_metric(own, account, how, name=f"{number}"))
            await folded(pool, piece_events_max=2)

    async def count() -> None:
        counting = aggregator(pool, redis, streams=2)
        while not all(one.done() for one in sending) or await counting.step(NOW):
            await counting.step(NOW)
            await asyncio.sleep(0)

    sending = [asyncio.create_task(send(STREAMS[n % 2], n)) for n in range(20)]
    await asyncio.gather(count(), count(), bear(), folded(pool), *sending)
    await drain(aggregator(pool, redis, streams=2))
    await folded(pool)

    assert await differences(conn) == []
    assert all([await complete(conn, account, one) for one in made])
    assert (await measured(conn, account, made[0], "a0", "a1", "a2")).event_count == 30


async def test_what_is_corrected_before_it_was_folded_is_not_taken_back(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, *(called(f"e{n}", n=1) for n in range(6)))
    await drain(aggregator(pool, redis))
    born = await make_metric(conn, account, definition("SUM", "n"))
    await accept(redis, account, called("e0", n=10), called("e5", n=100), called("new", n=1_000))
    await drain(aggregator(pool, redis))

    assert await differences(conn) == []
    assert await folded(pool) == 2
    assert await measured(conn, account, born) == used("1114", 7)
    assert await differences(conn) == []


async def test_a_metric_that_is_deleted_is_folded_no_more(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, *(called(f"e{n}") for n in range(6)))
    await drain(aggregator(pool, redis))
    born = await make_metric(conn, account)

    async with conn.transaction():
        await metric.delete(conn, account.account, metric=born.id, now=born.created_at)

    assert await folded(pool) == 0


async def test_several_histories_are_folded_the_oldest_first(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, *(called(f"e{n}") for n in range(6)))
    await drain(aggregator(pool, redis))
    first, second = await make_metric(conn, account), await make_metric(conn, account, name="second")

    await History(pool, piece_events_max=10).step()

    assert (await complete(conn, account, first), await complete(conn, account, second)) == (True, False)
