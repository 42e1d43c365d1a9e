"""Appending shares entries, refuses when it must, and never repeats."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from meter import entry, stream
from meter.error import StreamFull, StreamUnavailable
from meter.stream import Limit, Promises, Stream
from runtime import embedded
from runtime.server import Server

NAME = "events:{0}"
BLOCK = entry.encode_block(
    entry.pack(
        account=1,
        received_at=0,
        keys=bytes(16),
        digests=[1],
        ids={},
        aliases=["acme"],
        types=["call"],
        timestamps=[0],
        untimed=[],
        lines=b"{}\n",
    )
)
UNBOUNDED = Limit(entries_max=1 << 40, bytes_max=1 << 50)


def writing(redis: Redis, *, entries_max: int = 1 << 40, bytes_max: int = 1 << 50) -> Stream:
    return Stream(redis, name=NAME, limit=Limit(entries_max=entries_max, bytes_max=bytes_max))


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server that a test may stop."""
    server = embedded.start_valkey(tmp_path)
    yield server
    server.stop()


async def test_requests_that_wait_together_share_one_entry(redis: Redis) -> None:
    to = writing(redis)

    ids = await asyncio.gather(*(to.append(BLOCK) for _ in range(100)))

    assert len(set(ids)) == await redis.xlen(NAME) == 1


async def test_an_entry_is_bounded(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ENTRY_BYTES_MAX", 3 * len(BLOCK))
    to = writing(redis)

    await asyncio.gather(*(to.append(BLOCK) for _ in range(10)))

    assert await redis.xlen(NAME) == 4


async def test_a_block_larger_than_an_entry_gets_one_of_its_own(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ENTRY_BYTES_MAX", 3 * len(BLOCK))

    await writing(redis).append(b"\xc4\x04abcd")

    assert await redis.xlen(NAME) == 1


async def test_entry_ids_answer_where_a_block_stands(redis: Redis) -> None:
    to = writing(redis)

    first, second = await to.append(b"\x01"), await to.append(b"\x02")

    assert await stream.ends(redis, [NAME]) == {NAME: second}
    [left] = await stream.read(redis, NAME, after=first, limit=10)
    assert (left.id, left.payload) == (second, b"\x91\x02")


async def test_a_stream_with_too_many_entries_takes_nothing(redis: Redis) -> None:
    to = writing(redis, entries_max=2)
    await to.append(b"\x01")
    await to.append(b"\x01")

    with pytest.raises(StreamFull):
        await to.append(b"\x01")

    assert await redis.xlen(NAME) == 2


async def test_a_stream_of_too_many_bytes_takes_nothing(redis: Redis) -> None:
    to = writing(redis, bytes_max=1_000)
    await to.append(b"\xc5\x08\x00" + bytes(2_048))

    with pytest.raises(StreamFull):
        await to.append(b"\x01")


async def test_the_size_is_that_of_all_entries_and_not_of_the_oldest(redis: Redis) -> None:
    to = writing(redis)
    for size in [100] * 50 + [100_000] * 50:
        await to.append(bytes(size))

    entries, used = await stream.size(redis, NAME)

    assert entries == 100
    assert 50 * 100_000 <= used <= 2 * 50 * 100_000


async def test_a_full_stream_takes_events_again_once_it_is_trimmed(redis: Redis) -> None:
    to = writing(redis, entries_max=1)
    await to.append(b"\x01")
    with pytest.raises(StreamFull):
        await to.append(b"\x01")
    await redis.delete(NAME)

    async with asyncio.timeout(10):
        while not await redis.xlen(NAME):
            await asyncio.gather(to.append(b"\x01"), return_exceptions=True)


async def test_what_waits_in_the_process_is_bounded(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WAITING_BYTES_MAX", 1)
    to = writing(redis)

    results = await asyncio.gather(to.append(b"\x01"), to.append(b"\x01"), return_exceptions=True)

    assert [type(result) for result in results] == [str, StreamFull]


async def test_a_server_out_of_memory_is_a_full_stream(own_server: Server) -> None:
    redis = stream.connect(own_server.url)
    await redis.config_set("maxmemory", 1)

    with pytest.raises(StreamFull):
        await writing(redis).append(b"\x01")

    await redis.aclose()


async def test_without_a_server_nothing_is_accepted(tmp_path: Path) -> None:
    redis = stream.connect(f"unix://{tmp_path}/nobody")

    with pytest.raises(StreamUnavailable):
        await writing(redis).append(b"\x01")

    await redis.aclose()


async def test_an_append_of_unknown_fate_is_not_repeated(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_SOCKET_SECONDS_MAX", 0.2)
    redis = stream.connect(own_server.url)
    to = writing(redis)
    await to.append(b"\x01")
    os.kill(own_server.pid, signal.SIGSTOP)

    with pytest.raises(StreamUnavailable):
        await to.append(b"\x02")

    os.kill(own_server.pid, signal.SIGCONT)
    await to.append(b"\x03")
    payloads = [found.payload for found in await stream.read(redis, NAME, after="0-0", limit=10)]
    assert payloads in ([b"\x91\x01", b"\x91\x03"], [b"\x91\x01", b"\x91\x02", b"\x91\x03"])
    await redis.aclose()


async def test_a_writer_goes_on_after_an_outage(own_server: Server) -> None:
    redis = stream.connect(own_server.url)
    to = writing(redis)
    await redis.config_set("maxmemory", 1)
    with pytest.raises(StreamFull):
        await to.append(b"\x01")
    await redis.config_set("maxmemory", 0)

    await to.append(b"\x01")

    await redis.aclose()


async def test_a_caller_who_leaves_takes_nobody_along(redis: Redis) -> None:
    to = writing(redis)
    leaving = asyncio.create_task(to.append(BLOCK))
    staying = asyncio.create_task(to.append(BLOCK))
    await asyncio.sleep(0)
    leaving.cancel()

    await staying

    assert await redis.xlen(NAME) == 1


async def test_foreign_entries_are_skipped(redis: Redis) -> None:
    await redis.xadd(NAME, {"hello": "world"})

    [found] = await stream.read(redis, NAME, after="0-0", limit=10)

    assert found.payload == b"\x90"


async def test_the_end_of_a_stream_outlives_its_entries(redis: Redis) -> None:
    last = await writing(redis).append(b"\x01")
    await redis.xtrim(NAME, maxlen=0, approximate=False)

    assert await stream.ends(redis, [NAME, "events:{1}"]) == {NAME: last, "events:{1}": "0-0"}


async def test_a_server_that_keeps_every_promise_is_not_complained_of(redis: Redis) -> None:
    assert await stream.promises(redis) == Promises()


@pytest.mark.parametrize(
    ("setting", "value", "waits_for_aof", "is_broken"),
    [
        ("appendfsync", "everysec", False, True),
        ("appendfsync", "everysec", True, False),
        ("appendonly", "no", False, True),
        ("appendonly", "no", True, True),
        ("maxmemory-policy", "allkeys-lru", True, True),
    ],
)
async def test_settings_that_lose_events_are_named(
    own_server: Server, setting: str, value: str, *, waits_for_aof: bool, is_broken: bool
) -> None:
    redis = stream.connect(own_server.url)
    await redis.config_set(setting, value)

    found = await stream.promises(redis, waits_for_aof=waits_for_aof)

    assert [f"{setting} {value}" in one for one in found.broken] == [True] * is_broken
    assert found.unknown == ()
    await redis.aclose()


async def test_settings_that_cannot_be_read_are_unknown_rather_than_good(own_server: Server) -> None:
    redis = stream.connect(own_server.url)
    await redis.execute_command("ACL", "SETUSER", "default", "-config")

    found = await stream.promises(redis)

    assert found.broken == ()
    assert "is unknown" in found.unknown[0]
    await redis.aclose()


async def test_waiting_for_the_file_is_another_way_to_keep_the_promise(own_server: Server) -> None:
    redis = stream.connect(own_server.url)
    await redis.config_set("appendfsync", "everysec")
    waiting = Stream(redis, name=NAME, limit=UNBOUNDED, waits_for_aof=True)

    entry_id = await waiting.append(b"\x01")

    assert [one.id for one in await stream.read(redis, NAME, after="0-0", limit=9)] == [entry_id]
    assert int((await redis.info("persistence"))["aof_pending_bio_fsync"]) == 0
    await redis.aclose()


async def test_without_a_file_to_wait_for_nothing_is_promised(own_server: Server) -> None:
    redis = stream.connect(own_server.url)
    await redis.config_set("appendonly", "no")

    with pytest.raises(StreamUnavailable):
        await Stream(redis, name=NAME, limit=UNBOUNDED, waits_for_aof=True).append(b"\x01")

    await redis.aclose()
