"""Positions: one of each stream, joined by commas, so that what a reply says can be waited for."""

import pytest
from redis.asyncio import Redis

from meter import position
from meter.error import InvalidValue
from runtime.settings import Settings
from store.account import Principal
from store.db import Connection, Pool
from tests import company
from tests.server import Clock, serving
from tests.usage import accept, aggregator, called, drain
from usance.loop import Servers

STREAMS = 3
NAMES = ("events:{0}", "events:{1}", "events:{2}")
MARCH = {"from": "2025-03-01T00:00:00Z", "to": "2025-04-01T00:00:00Z"}


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

    before = await position.wait(pool, everything, streams=STREAMS, seconds=0.0)
    nothing = await position.wait(pool, "0/0-0,1/0-0,2/0-0", streams=STREAMS, seconds=0.0)
    await drain(counting)

    assert (before, nothing) == (False, True)
    assert await position.wait(pool, everything, streams=STREAMS, seconds=0.0)
    assert not await position.wait(pool, f"{everything},1/99999999999999-0", streams=STREAMS, seconds=0.0)


async def test_a_stream_that_is_not_there_is_refused(pool: Pool, redis: Redis) -> None:
    await drain(aggregator(pool, redis, streams=2))

    # Two are counted, though one would be written to.
    assert await position.wait(pool, "1/0-0", streams=1, seconds=0.0)
    with pytest.raises(InvalidValue):
        await position.wait(pool, "0/0-0,2/1-1", streams=1, seconds=0.0)


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
