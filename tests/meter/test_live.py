"""Whoever waits for an account's usage is woken by its commits, also after the connection was lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from meter import live
from meter.live import Live

SECONDS_MAX = 5.0


@pytest.fixture
async def ear(redis: Redis) -> AsyncIterator[Live]:
    ear, stop = Live(redis), asyncio.Event()
    task = asyncio.create_task(ear.run(stop))
    async with asyncio.timeout(SECONDS_MAX):
        # Another task subscribes, so there is no event of ours to wait for.
        while not dict(await redis.pubsub_numsub(live.CHANNEL)).get(live.CHANNEL.encode()):  # noqa: ASYNC110
            await asyncio.sleep(0)
    yield ear
    stop.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def woken(changed: asyncio.Event) -> bool:
    async with asyncio.timeout(SECONDS_MAX):
        return await changed.wait()


async def test_an_account_wakes_its_own_only(ear: Live, redis: Redis) -> None:
    with ear.watch(1) as one, ear.watch(2) as two, ear.watch(2) as also_two:
        await live.tell(redis, {2, 3})

        assert await woken(two)
        assert await woken(also_two)
        assert not one.is_set()


async def test_who_leaves_is_forgotten(ear: Live, redis: Redis) -> None:
    with ear.watch(1) as gone:
        pass
    with ear.watch(2) as here:
        await live.tell(redis, {1, 2})

        assert await woken(here)
        assert not gone.is_set()


async def test_a_lost_connection_wakes_everybody_when_it_stands_again(ear: Live, redis: Redis) -> None:
    with ear.watch(1) as changed:
        await redis.client_kill_filter(_type="pubsub")

        assert await woken(changed)


async def test_nobody_need_hear(redis: Redis) -> None:
    await live.tell(redis, {1})
    await live.tell(redis, set())
