"""Positions: one of each stream, joined by commas, so that what a reply says can be waited for."""

import asyncio

import pytest
from redis.asyncio import Redis

from meter import entry, position, stream
from meter.error import InvalidValue
from runtime.settings import Settings
from store import stream_position, usage
from store.account import Principal
from store.db import Connection, Pool
from tests import company
from tests.server import Clock, serving
from tests.usage import NOW, accept, aggregator, block_of, called, drain, make_metric, measured, used
from usance.loop import Servers

STREAMS = 3
NAMES = ("events:{0}", "events:{1}", "events:{2}")
MARCH = {"from": "2025-03-01T00:00:00Z", "to": "2025-04-01T00:00:00Z"}

WAITING = """
select exists (
    select from pg_stat_activity where pg_backend_pid() = any(pg_blocking_pids(pid))
)
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2/5-1", {"events:{2}": "5-1"}),
        ("0/0-0,1/7-0", {"events:{0}": "0-0", "events:{1}": "7-0"}),
        # Of one stream the furthest, as numbers.
        ("1/9-9,1/10-0,1/10-10,1/10-9", {"events:{1}": "10-10"}),
    ],
)
def test_several_positions_are_one_text(text: str, expected: dict[str, str]) -> None:
    assert position.parse(text) == expected


@pytest.mark.parametrize("text", ["", ",", "0/1-1,", "0/1-1, 1/1-1", "0/1", "a/1-1", "0/1-1;1/1-1", "0/1-1," * 1_024])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        position.parse(text)


async def test_a_wait_ends_when_every_stream_is_counted_so_far(pool: Pool, redis: Redis, account: Principal) -> None:
    counting = aggregator(pool, redis, streams=STREAMS)
    await drain(counting)
    ends = [await accept(redis, account, called(f"e{n}"), name=name) for n, name in enumerate(NAMES)]
    everything = ",".join(f"{n}/{end}" for n, end in enumerate(ends))

    before = await position.wait(pool, everything, redis=redis, streams=STREAMS, seconds=0.0)
    nothing = await position.wait(pool, "0/0-0,1/0-0,2/0-0", redis=redis, streams=STREAMS, seconds=0.0)
    await drain(counting)

    assert (before, nothing) == (False, True)
    assert await position.wait(pool, everything, redis=redis, streams=STREAMS, seconds=0.0)
    assert not await position.wait(pool, f"{everything},1/99999999999999-0", redis=redis, streams=STREAMS, seconds=0.0)


async def test_a_stream_that_is_not_there_is_refused(pool: Pool, redis: Redis) -> None:
    await drain(aggregator(pool, redis, streams=2))

    # Two are counted, though one would be written to.
    assert await position.wait(pool, "1/0-0", redis=redis, streams=1, seconds=0.0)
    with pytest.raises(InvalidValue):
        await position.wait(pool, "0/0-0,2/1-1", redis=redis, streams=1, seconds=0.0)


async def test_what_a_server_takes_in_that_lost_its_disk_and_its_time_is_waited_for(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    """Its ids lie below what is counted, and yet nothing of it is."""
    calls = await make_metric(conn, account)
    old = f"0/{await accept(redis, account, called('old'))}"
    await drain(aggregator(pool, redis))
    await redis.flushall()
    gone = await waited(pool, redis, old)
    id_ = await redis.xadd(NAMES[0], {"blocks.1": entry.join([block_of(account, called("new"))])}, id="5-0")
    new = f"0/{id_.decode()}"
    early = [
        await waited(pool, redis, new),
        await usage.counted_past(conn, await position.ends(pool, redis, streams=NAMES[:1])),
    ]
    # Asking for the ends has mended the stream, but it is not counted yet.
    early += [
        await waited(pool, redis, new),
        await usage.counted_past(conn, await position.ends(pool, redis, streams=NAMES[:1])),
    ]

    await drain(aggregator(pool, redis))

    assert (gone, early) == (True, [False] * 4)
    assert await waited(pool, redis, f"{old},{new}")
    assert await usage.counted_past(conn, await position.ends(pool, redis, streams=NAMES[:1]))
    assert await measured(conn, account, calls) == used("2", 2)


async def test_the_ends_wait_for_who_counts_the_stream_that_was(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a"))
    await drain(aggregator(pool, redis))
    later = f"{(await redis.time())[0] + 60}000-0"
    await redis.delete(NAMES[0])
    await redis.xadd(NAMES[0], {"blocks.1": entry.join([block_of(account, called("b"))])})
    async with conn.transaction():
        # It has read the last entry of the stream that was, and is about to commit.
        await stream_position.wait(conn, NAMES[0])
        await stream_position.move(conn, NAMES[0], position=later, now=NOW)
        asked = asyncio.create_task(position.ends(pool, redis, streams=NAMES[:1]))
        await is_waited_for(conn)
    ends = await asked

    assert not await usage.counted_past(conn, ends)
    await drain(aggregator(pool, redis))
    assert await usage.counted_past(conn, ends)


async def test_nothing_is_taken_for_counted_while_redis_cannot_be_asked(
    pool: Pool, redis: Redis, account: Principal
) -> None:
    here = f"0/{await accept(redis, account, called('a'))}"
    await drain(aggregator(pool, redis))
    away = stream.connect("redis://127.0.0.1:1")

    assert not await waited(pool, away, here)
    assert await waited(pool, redis, here)
    await away.aclose()


async def test_what_an_answer_has_counted_can_be_waited_for(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    """`countedUpTo` of one reply is `after` of the next, joined with the position of what was sent since."""
    async with serving(
        Servers(pool, redis), conn=conn, account=account, clock=Clock(), settings=Settings(streams=STREAMS)
    ) as api:
        calls = await company.metric(api, "call")
        for n, name in enumerate(NAMES):
            await accept(redis, account, called(f"e{n}"), name=name)
        await api.aggregate()
        body = {"metrics": [calls], "customerAliases": ["acme"], **MARCH}
        first = await api.post("/usage/query", body)
        sent = await api.post("/usage-events", called("new"))
        await api.aggregate()

        again = await api.post("/usage/query", body | {"after": first.body["countedUpTo"]})
        both = f"{first.body['countedUpTo']},{sent.headers['Usance-Position']}"
        joined = await api.post("/usage/query", body | {"after": both})
        read = await api.get(f"/usage-events/new?after={both}")

    assert first.body["countedUpTo"].count(",") == STREAMS - 1
    assert [reply.status for reply in (again, joined, read)] == [200, 200, 200]
    assert [one["value"] for one in joined.body["items"]] == ["4"]


async def waited(pool: Pool, redis: Redis, text: str) -> bool:
    """Whether these positions are counted by now."""
    return await position.wait(pool, text, redis=redis, streams=1, seconds=0.0)


async def is_waited_for(conn: Connection) -> None:
    """Wait until somebody waits for what this session has locked."""
    async with asyncio.timeout(10):
        while not await conn.fetchval(WAITING):  # noqa: ASYNC110 another session
            await asyncio.sleep(0.01)
