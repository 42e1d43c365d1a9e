"""What people write by hand, to be compared with: one handler, one table of events, one of counters.

    python -m usance.bench.handwritten DATABASE_URL      prints its port, serves until it is told to stop

One event is one transaction: an INSERT ... ON CONFLICT and, if the event is new, the upsert of one counter. A batch is
one transaction of two statements with arrays. It is durable as ours is, and as fast as that design gets in good faith:
a pool, prepared statements, uvloop, counters in one order so that batches do not deadlock. It has no corrections, no
time zones, no metrics to define, no quarter hours; ids that are texts and sums that are integers.
"""

import asyncio
import signal
import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
import uvloop
from aiohttp import web

from store.db import Connection, Pool

_CONNECTIONS = 10
_BODY_BYTES_MAX = 8 * 1024 * 1024

SCHEMA = """
create table event (
    id text primary key,
    customer text not null,
    type text not null,
    happened_at timestamptz not null,
    properties jsonb not null
);
create table counter (
    customer text not null,
    day date not null,
    model text not null,
    events bigint not null,
    tokens bigint not null,
    primary key (customer, day, model)
);
"""

_KEEP = "insert into event values ($1, $2, $3, $4, $5) on conflict (id) do nothing"
_KEEP_ALL = """
insert into event
select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::jsonb[])
on conflict (id) do nothing returning id
"""
_COUNT_ALL = """
insert into counter
select * from unnest($1::text[], $2::date[], $3::text[], $4::bigint[], $5::bigint[])
on conflict (customer, day, model)
do update set events = counter.events + excluded.events, tokens = counter.tokens + excluded.tokens
"""
_COUNT = """
insert into counter values ($1, $2, $3, 1, $4)
on conflict (customer, day, model)
do update set events = counter.events + 1, tokens = counter.tokens + excluded.tokens
"""


class _Event(msgspec.Struct, rename="camel"):
    customer_event_id: str
    customer_alias: str
    event_type: str
    event_timestamp: datetime
    event_properties: dict[str, Any]


_DECODER = msgspec.json.Decoder(_Event | list[_Event])
_POOL: "web.AppKey[Pool]" = web.AppKey("pool")


def main() -> None:
    """Serve."""
    uvloop.run(_serve(sys.argv[1]))


async def _serve(database_url: str) -> None:
    pool = await asyncpg.create_pool(database_url, min_size=_CONNECTIONS, max_size=_CONNECTIONS)
    app = web.Application(client_max_size=_BODY_BYTES_MAX)
    app[_POOL] = pool
    app.add_routes([web.post("/events", _post)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()
    await pool.close()


async def _post(request: web.Request) -> web.Response:
    found = _DECODER.decode(await request.read())
    async with request.app[_POOL].acquire() as conn, conn.transaction():
        await (_take_all(conn, found) if isinstance(found, list) else _take(conn, found))
    return web.Response(status=202, body=b'{"accepted":true}', content_type="application/json")


async def _take(conn: Connection, event: _Event) -> None:
    if await conn.execute(_KEEP, *_row(event)) == "INSERT 0 1":
        properties = event.event_properties
        day = event.event_timestamp.date()
        await conn.execute(_COUNT, event.customer_alias, day, properties["model"], properties["tokens"])


async def _take_all(conn: Connection, events: Sequence[_Event]) -> None:
    kept = await conn.fetch(_KEEP_ALL, *zip(*map(_row, events), strict=True))
    fresh = {row["id"] for row in kept}
    sums: defaultdict[tuple[str, Any, str], list[int]] = defaultdict(lambda: [0, 0])
    for event in events:
        if event.customer_event_id in fresh:
            properties = event.event_properties
            cell = sums[event.customer_alias, event.event_timestamp.date(), properties["model"]]
            cell[0] += 1
            cell[1] += properties["tokens"]
    rows = sorted((*key, *cell) for key, cell in sums.items())
    if rows:
        await conn.execute(_COUNT_ALL, *zip(*rows, strict=True))


def _row(event: _Event) -> tuple[object, ...]:
    properties = msgspec.json.encode(event.event_properties).decode()
    return event.customer_event_id, event.customer_alias, event.event_type, event.event_timestamp, properties


if __name__ == "__main__":
    main()
