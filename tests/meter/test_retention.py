"""Counted entries stay for a while, and nothing that is not counted ever goes."""

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from meter import retention
from meter.retention import Retention
from store.account import Principal
from store.db import Pool
from tests.usage import NOW, accept, aggregator, called, drain

NAME = "events:{0}"
FILLER = b"x" * 5_000


def keeping(*, seconds: float = 86_400, entries_max: int = 1 << 40, bytes_max: int = 1 << 50) -> Retention:
    return Retention(seconds=seconds, entries_max=entries_max, bytes_max=bytes_max)


async def fill(redis: Redis, *minutes_ago: float) -> list[str]:
    """One entry for each age, oldest first, each large enough to have a node of its own."""
    ids = [f"{int((NOW - timedelta(minutes=age)).timestamp() * 1000)}-0" for age in minutes_ago]
    for id_ in ids:
        await redis.xadd(NAME, {"x": FILLER}, id=id_)
    return ids


async def left(redis: Redis) -> list[str]:
    return [id_.decode() for id_, _ in await redis.xrange(NAME)]


async def test_old_counted_entries_go(redis: Redis) -> None:
    ids = await fill(redis, 120, 61, 59, 0)

    await retention.trim(redis, NAME, position=ids[-1], retention=keeping(seconds=3_600), now=NOW)

    assert await left(redis) == ids[2:]


async def test_entries_that_are_not_counted_stay_whatever_their_age(redis: Redis) -> None:
    ids = await fill(redis, 240, 180, 120)

    await retention.trim(redis, NAME, position=ids[1], retention=keeping(seconds=3_600), now=NOW)

    assert await left(redis) == ids[1:]


async def test_another_stream_than_was_counted_loses_nothing(redis: Redis) -> None:
    ids = await fill(redis, 300, 240, 180)
    elsewhere = f"{int(NOW.timestamp() * 1000)}-0"

    await retention.trim(redis, NAME, position=elsewhere, retention=keeping(seconds=3_600, entries_max=1), now=NOW)

    assert await left(redis) == ids


@pytest.mark.parametrize(
    ("limits", "gone"),
    [({"entries_max": 5}, 2), ({"entries_max": 3}, 3), ({"entries_max": 1}, 4), ({"bytes_max": 25_000}, 2)],
    ids=str,
)
async def test_beyond_a_size_the_older_half_of_what_is_counted_goes_until_the_rest_fits(
    redis: Redis, limits: dict[str, int], gone: int
) -> None:
    ids = await fill(redis, 100, 80, 60, 40, 20, 0)

    dropped = await retention.trim(redis, NAME, position=ids[4], retention=keeping(**limits), now=NOW)

    assert await left(redis) == ids[gone:]
    assert dropped == gone


async def test_one_old_entry_does_not_keep_a_burst_in_a_full_stream(redis: Redis) -> None:
    burst = int(NOW.timestamp() * 1000)
    # The old one shares its node with a part of the burst.
    ids = [f"{burst - 3_600_000}-0", *(f"{burst + number // 10}-{number % 10}" for number in range(399))]
    for id_ in ids:
        await redis.xadd(NAME, {"x": b"small"}, id=id_)

    await retention.trim(redis, NAME, position=ids[-1], retention=keeping(entries_max=200), now=NOW)

    assert 100 <= len(await left(redis)) <= 200


async def test_a_full_stream_that_is_not_counted_loses_nothing(redis: Redis) -> None:
    ids = await fill(redis, 100, 80, 60)

    await retention.trim(redis, NAME, position="0-0", retention=keeping(entries_max=1), now=NOW)

    assert await left(redis) == ids


async def test_the_aggregator_trims_behind_its_position(pool: Pool, redis: Redis, account: Principal) -> None:
    for number in range(4):
        await accept(redis, account, called(f"e{number}", text="x" * 5_000))
    much_later = NOW + timedelta(days=40_000)

    last = (await redis.xinfo_stream(NAME))["last-generated-id"]
    await drain(aggregator(pool, redis), now=much_later)

    assert await left(redis) == [last.decode()]
