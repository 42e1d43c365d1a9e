"""The limits: how fast the parts are on this machine when somebody does one thing only.

    stream          XADD of the same bodies by a bare client, on disk before the answer, as ours are
    copy            COPY of the same rows into a table without an index
    unique_insert   INSERT ... ON CONFLICT DO NOTHING of the same ids into a table with nothing but its primary key
    hand_written    handwritten.py, one event per request, and 100

They run on the installation's own servers before anything is counted, in a database of their own. Everything is built
before the clock runs: what is timed is the server's answer. The ratio of our figure to these says more than the figure,
because it hardly depends on the machine.
"""

import asyncio
import os
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec

from meter import stream
from store.db import Connection
from usance.bench import handwritten, load, machine, program, traffic
from usance.bench.installation import Installation
from usance.bench.load import Spec, Target
from usance.bench.traffic import Shape

ROWS = 20_000
XADD_BATCH, XADD_CONNECTIONS = 100, 16
HAND_WRITTEN_CONNECTIONS = 32
_DATABASE = "bare"
_STREAM = "bare"
_STREAM_ENTRIES = 1_000
_STOP_SECONDS = 5.0

_ROWS_SCHEMA = """
create table bare_row (
    account integer, alias integer, event_no bigint, event_timestamp timestamptz, received_at timestamptz,
    entry_ms bigint, entry_sequence bigint, entry_index integer, key uuid, customer_event_id text, event_type text,
    properties text, state text
);
create table bare_id (key uuid primary key);
"""
# One parameter of 16 bytes for each id: nothing is faster to send and to read.
_INSERT_IDS = """
insert into bare_id
select encode(substring($1::bytea from number * 16 + 1 for 16), 'hex')::uuid
from generate_series(0, length($1::bytea) / 16 - 1) as number
on conflict do nothing
"""


class Limit(msgspec.Struct, frozen=True):
    """Events per second, and processor time per million events, the client's and the servers' together."""

    events_per_second: float
    cpu_seconds_per_million: float


class Limits(msgspec.Struct, frozen=True):
    """All of them."""

    stream: Limit
    copy: Limit
    unique_insert: Limit
    hand_written: Limit
    hand_written_batch: Limit


async def measure(running: Installation, *, seconds: float) -> Limits:
    """Measure each for so long."""
    async with _database(running) as url:
        conn = await asyncpg.connect(url)
        try:
            await conn.execute(_ROWS_SCHEMA)
            rows = await _timed(running, seconds, ROWS, _copying(conn))
            ids = await _timed(running, seconds, ROWS, _inserting(conn))
            await conn.execute(handwritten.SCHEMA)
        finally:
            await conn.close()
        one = await _hand_written(running, url, batch=1, seconds=seconds)
        batch = await _hand_written(running, url, batch=100, seconds=seconds)
    return Limits(await _stream(running, seconds), rows, ids, one, batch)


@asynccontextmanager
async def _database(running: Installation) -> AsyncIterator[str]:
    """A database beside the product's."""
    admin = await asyncpg.connect(running.endpoints.database_url)
    try:
        await admin.execute(f"create database {_DATABASE}")
        yield urlunsplit(urlsplit(running.endpoints.database_url)._replace(path=f"/{_DATABASE}"))
        await admin.execute(f"drop database {_DATABASE} with (force)")
        # What comes next shall not pay for it.
        await admin.execute("checkpoint")
    finally:
        await admin.close()


async def _timed(running: Installation, seconds: float, events: int, work: Callable[[], Awaitable[float]]) -> Limit:
    """Repeat something that answers how long it took."""
    before, done, spent = _cpu(running), 0, 0.0
    while spent < seconds:
        spent += await work()
        done += events
    return Limit(done / spent, (_cpu(running) - before) / done * 1e6)


def _copying(conn: Connection) -> Callable[[], Awaitable[float]]:
    rows = _rows(datetime.now(UTC))

    async def once() -> float:
        async def source() -> AsyncIterator[bytes]:
            yield rows

        started = time.perf_counter()
        await conn.copy_to_table("bare_row", source=source(), format="binary")
        return time.perf_counter() - started

    return once


def _inserting(conn: Connection) -> Callable[[], Awaitable[float]]:
    async def once() -> float:
        ids = _ids()
        started = time.perf_counter()
        await conn.execute(_INSERT_IDS, ids)
        return time.perf_counter() - started

    return once


async def _stream(running: Installation, seconds: float) -> Limit:
    redis = stream.connect(running.endpoints.redis_url)
    bodies = [one.body for one in traffic.pool(Shape(batch=XADD_BATCH), now=datetime.now(UTC))]
    before, started = _cpu(running), time.perf_counter()

    async def append(first: int) -> int:
        number = first
        while time.perf_counter() - started < seconds:
            body = bodies[number % len(bodies)]
            await redis.xadd(_STREAM, {"body": body}, maxlen=_STREAM_ENTRIES, approximate=True)
            number += 1
        return number - first

    try:
        events = XADD_BATCH * sum(await asyncio.gather(*map(append, range(XADD_CONNECTIONS))))
        spent, cpu = time.perf_counter() - started, _cpu(running) - before
        await redis.delete(_STREAM)
    finally:
        await redis.aclose()
    return Limit(events / spent, cpu / events * 1e6)


async def _hand_written(running: Installation, url: str, *, batch: int, seconds: float) -> Limit:
    process = program.start("usance.bench.handwritten", url, stdout=subprocess.PIPE)
    try:
        target = Target(host="127.0.0.1", port=program.port(process), path="/events", authorization="none")
        spec = Spec(target=target, shape=Shape(batch=batch), connections=HAND_WRITTEN_CONNECTIONS, seconds=seconds)
        with load.start(spec) as sending:
            before = _cpu(running) + machine.cpu_seconds([process.pid])
            sending.go()
            result = await asyncio.to_thread(sending.result)
            spent = _cpu(running) + machine.cpu_seconds([process.pid]) - before + result.client_cpu_seconds
    finally:
        program.end(process, seconds=_STOP_SECONDS)
    return Limit(result.unique_events / result.accepted_seconds, spent / result.events * 1e6)


def _cpu(running: Installation) -> float:
    """Of the installation and ourselves."""
    return time.process_time() + sum(machine.cpu_seconds(pids) for pids in running.parts().values())


def _ids() -> bytes:
    """Ids as clients make them: a UUIDv7 each, in order of time."""
    milliseconds, noise = time.time_ns() // 1_000_000, os.urandom(ROWS * 8)
    head = struct.pack(">Q", milliseconds << 16 | 0x7000)
    return b"".join(
        head[:6] + struct.pack(">H", 0x7000 | number >> 8 & 0xFFF) + noise[number * 8 : number * 8 + 8]
        for number in range(ROWS)
    )


def _rows(now: datetime) -> bytes:
    """Rows as usage_event has them, in Postgres' binary format."""
    bodies = traffic.pool(Shape(batch=1_000), now=now)
    uses = [use for one in bodies for use in one.uses][:ROWS]
    microseconds = struct.pack(">q", int((now - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000)
    ids, integer, long = _ids(), struct.Struct(">i"), struct.Struct(">q")
    rows = [b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"]
    for number, use in enumerate(uses):
        properties = f'{{"model":"{use.model}","region":"eu-west","tokens":{use.tokens}}}'
        fields: Sequence[bytes | None] = (
            integer.pack(1),
            integer.pack(int(use.alias[-5:])),
            long.pack(number),
            microseconds,
            microseconds,
            long.pack(number),
            long.pack(0),
            integer.pack(number),
            ids[number * 16 : number * 16 + 16],
            None,
            traffic.EVENT_TYPE.encode(),
            properties.encode(),
            b"live",
        )
        rows.append(struct.pack(">h", len(fields)))
        rows += [integer.pack(-1) if one is None else integer.pack(len(one)) + one for one in fields]
    return b"".join([*rows, b"\xff\xff"])
