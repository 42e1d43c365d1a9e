"""DELETE /usage-events/{id}: an event is taken back."""

from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from meter import identity
from runtime.settings import Settings
from store.account import Principal
from store.db import Connection, Pool
from tests.server import Clock, Server, serving
from tests.usage import aggregator, called, drain, make_metric, measured, used
from usance.loop import Servers

V7 = "0195813c-4f00-7000-8000-000000000001"


@pytest.mark.parametrize("id_", ["e1", V7, "https://shop.example/api 7", "50% off/ä", "x" * 255])
@pytest.mark.parametrize("by_public_id", [True, False])
async def test_an_event_is_cancelled_by_either_of_its_ids(
    api: Server, conn: Connection, account: Principal, id_: str, *, by_public_id: bool
) -> None:
    calls = await make_metric(conn, account)
    sent = await api.post("/usage-events", called(id_))
    await api.aggregate()

    named = sent.body["id"] if by_public_id else quote(id_, safe="")
    reply = await api.delete(f"/usage-events/{named}")
    await api.aggregate()

    assert reply.status == 202
    assert reply.body == {"id": sent.body["id"], "position": reply.headers["Usance-Position"]}
    assert await measured(conn, account, calls) == used("0", 0)


async def test_an_id_that_nobody_knows_is_accepted(api: Server) -> None:
    reply = await api.delete("/usage-events/nobody")

    assert (reply.status, reply.body["id"]) == (202, str(identity.public_id(identity.key("nobody"))))


@pytest.mark.parametrize("id_", ["x" * 256, "a%00b"])
async def test_what_can_be_no_id_is_refused(api: Server, id_: str) -> None:
    reply = await api.delete(f"/usage-events/{id_}")

    assert (reply.status, reply.codes) == (400, ["INVALID_VALUE"])


async def test_a_backfill_takes_no_cancellations(api: Server, conn: Connection, account: Principal) -> None:
    calls = await make_metric(conn, account)
    await api.post("/usage-events", called("a"))

    reply = await api.delete("/usage-events/a", headers={"Usance-Backfill": V7})
    await api.aggregate()

    assert (reply.status, reply.codes, reply.keys) == (400, ["INVALID_VALUE"], ["Usance-Backfill"])
    assert await measured(conn, account, calls) == used("1", 1)


async def test_versions_through_two_workers_resolve_by_receipt(
    pool: Pool, redis: Redis, conn: Connection, account: Principal, clock: Clock
) -> None:
    calls = await make_metric(conn, account)
    settings = [Settings(streams=2, http_worker=number) for number in range(2)]
    behind = aggregator(pool, redis, streams=2)
    await behind._prepare(clock())
    async with serving(Servers(pool, redis), conn=conn, account=account, clock=clock, settings=settings[0]) as first:
        await first.post("/usage-events", called("a", n=1))
        async with serving(
            Servers(pool, redis), conn=conn, account=account, clock=slow(clock), settings=settings[1]
        ) as second:
            # A worker whose clock is an hour behind: the order is that of the streams all the same.
            await later(redis)
            await second.delete("/usage-events/a")
            await later(redis)
            await first.post("/usage-events", called("a", n=1))
    await behind._step("events:{1}", clock())
    await drain(behind)

    assert await measured(conn, account, calls) == used("0", 0)


def slow(clock: Clock) -> Callable[[], datetime]:
    return lambda: clock() - timedelta(hours=1)


async def later(redis: Redis) -> None:
    """Wait until the server's clock, which gives entries their ids, has left this millisecond."""
    seconds, micros = await redis.time()
    while await redis.time() < (seconds, micros + 1_000):
        pass
