"""A batch is bounded, and what was read ahead is used only where it fits."""

import asyncio

import pytest
from redis.asyncio import Redis

from meter import reader
from meter.batch import Batch
from meter.reader import Reader
from store.account import Principal
from tests.usage import accept, called

NAME = "events:{0}"


async def send(redis: Redis, account: Principal, *ids: str) -> str:
    position = await accept(redis, account, *[called(id_) for id_ in ids])
    return position.rpartition("/")[2]


def events(found: Batch | None) -> int:
    return 0 if found is None else found.events


async def test_a_batch_ends_with_the_entry_that_fills_it(redis: Redis, account: Principal) -> None:
    for number in range(5):
        await send(redis, account, f"{number}a", f"{number}b")
    reading = Reader(redis, events_max=3, ahead_min=1)

    first = await reading.read(NAME, "0-0")

    assert first is not None
    assert [events(first), events(await reading.read(NAME, first.end))] == [4, 4]


async def test_a_batch_is_bounded_in_bytes_too(
    redis: Redis, account: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_BATCH_BYTES_MAX", 1)
    await send(redis, account, "a", "b")
    await send(redis, account, "c")

    assert events(await Reader(redis, events_max=1_000, ahead_min=1).read(NAME, "0-0")) == 2


async def test_what_was_read_ahead_is_the_next_batch(redis: Redis, account: Principal) -> None:
    await send(redis, account, "a")
    reading = Reader(redis, events_max=1, ahead_min=1)
    first = await reading.read(NAME, "0-0")
    second = await send(redis, account, "b")
    assert first is not None

    reading.look_ahead(NAME, first)
    await asyncio.sleep(0.05)
    await send(redis, account, "c")
    ahead = await reading.read(NAME, first.end)

    assert ahead is not None
    assert (ahead.end, ahead.events) == (second, 1)
    assert events(await reading.read(NAME, ahead.end)) == 1


async def test_what_was_read_ahead_is_thrown_away_if_the_position_is_another(redis: Redis, account: Principal) -> None:
    await send(redis, account, "a")
    await send(redis, account, "b")
    reading = Reader(redis, events_max=1, ahead_min=1)
    first = await reading.read(NAME, "0-0")
    assert first is not None

    reading.look_ahead(NAME, first)
    again = await reading.read(NAME, "0-0")

    assert again is not None
    assert again.blocks == first.blocks


async def test_what_was_read_ahead_of_a_stream_that_is_no_more_is_thrown_away(redis: Redis, account: Principal) -> None:
    await send(redis, account, "a")
    await send(redis, account, "b", "c")
    reading = Reader(redis, events_max=1, ahead_min=1)
    first = await reading.read(NAME, "0-0")
    assert first is not None
    reading.look_ahead(NAME, first)
    await asyncio.sleep(0.05)

    await redis.delete(NAME)
    await send(redis, account, "d", "e", "f")

    assert events(await reading.read(NAME, first.end)) == 3
