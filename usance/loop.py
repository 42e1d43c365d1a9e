"""The processes without a port: the aggregator's and the invoicer's loop, each with connections of its own.

aggregate(settings, stop)        until `stop`
invoice(settings, stop)          until `stop`
invoice_once(settings, now=)     what is due at `now`, then the end
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime

import msgspec
import structlog
from redis.asyncio import Redis

from invoicer.run import Invoicer
from meter import position, stream
from meter.aggregate import Aggregator
from meter.backfill import Backfiller
from meter.eviction import Evictions
from meter.history import History
from meter.repeat import Repeats
from runtime import process
from runtime.errors import SettingsError
from runtime.settings import Settings
from store import db

log = structlog.get_logger(__name__)

# How long an event or a due schedule may lie before an idle loop looks again.
_AGGREGATE_IDLE_SECONDS = 0.03
# A transaction costs as much as counting so many events, so fewer wait for company, for as long as the idle time.
_AGGREGATE_FULL = 2_000
# Where so many were counted in one go, 10,000 come in a second: these wait longer, for as many as make a full one.
_AGGREGATE_BUSY, _AGGREGATE_BUSY_SECONDS = 300, 0.1
_BACKFILL_IDLE_SECONDS = 0.5
_HISTORY_IDLE_SECONDS = 0.5
_EVICT_IDLE_SECONDS = 10.0
_INVOICE_IDLE_SECONDS = 1.0
_REPEAT_IDLE_SECONDS = 60.0


class Servers(msgspec.Struct, frozen=True):
    """Connections of one process, checked."""

    pool: db.Pool
    redis: Redis


async def aggregate(settings: Settings, stop: asyncio.Event) -> None:
    """Count what is accepted, close and revert backfills, fold the history of young metrics, forget repeats, end the
    sessions of others that hang.
    """
    async with connected(settings) as servers:
        await check_promises(settings, servers.redis)
        aggregator = Aggregator(servers.pool, servers.redis, settings=settings)
        backfiller = Backfiller(servers.pool, servers.redis, settings=settings)
        history = History(servers.pool)
        repeats = Repeats(servers.pool, servers.redis, streams=settings.streams)
        evictions = Evictions(servers.pool)
        async with asyncio.TaskGroup() as loops:
            # Others evict an aggregator that hangs; where there is one, it has to be started again.
            loops.create_task(process.watch(stop), name="watch")
            full = min(_AGGREGATE_FULL, settings.batch_events_max)
            loops.create_task(_count(aggregator, stop, full=full), name="aggregate")
            for name, step, idle_seconds in (
                ("backfill", backfiller.step, _BACKFILL_IDLE_SECONDS),
                ("history", history.step, _HISTORY_IDLE_SECONDS),
                ("repeat", repeats.step, _REPEAT_IDLE_SECONDS),
                ("evict", evictions.step, _EVICT_IDLE_SECONDS),
            ):
                loops.create_task(process.serve(step, stop, name=name, idle_seconds=idle_seconds), name=name)


async def _count(aggregator: Aggregator, stop: asyncio.Event, *, full: int) -> None:
    # It lets go of what it has begun as soon as it stops: the other loops may wait for that.
    async with aclosing(aggregator):
        await process.serve(aggregator.step, stop, name="aggregate", idle_seconds=_aggregate_idle_seconds, full=full)


def _aggregate_idle_seconds(counted: int) -> float:
    return _AGGREGATE_IDLE_SECONDS if counted < _AGGREGATE_BUSY else _AGGREGATE_BUSY_SECONDS


async def invoice(settings: Settings, stop: asyncio.Event) -> None:
    """Bill what falls due."""
    async with connected(settings) as servers:
        invoicer = make_invoicer(settings, servers)
        await process.serve(invoicer.step, stop, name="invoice", idle_seconds=_INVOICE_IDLE_SECONDS)


async def invoice_once(settings: Settings, *, now: datetime) -> int:
    """Bill what is due at `now`; answers how many schedules were looked at."""
    async with connected(settings) as servers:
        invoicer, total = make_invoicer(settings, servers), 0
        while done := await invoicer.step(now):
            total += done
        return total


@asynccontextmanager
async def connected(settings: Settings, *, ready: int = 1) -> AsyncIterator[Servers]:
    """Connections, after a look at the schema; closed at the end. `ready`: how many to Postgres are opened at once."""
    if settings.database_url is None or settings.redis_url is None:
        raise SettingsError("no servers: set USANCE_DATABASE_URL and USANCE_REDIS_URL, or start `usance up` first")
    most = settings.database_connections_max
    pool = await db.connect_pool(settings.database_url, min_size=min(ready, most), max_size=most)
    redis = stream.connect(settings.redis_url)
    try:
        async with pool.acquire() as conn:
            await db.check_schema(conn)
        yield Servers(pool, redis)
    finally:
        await redis.aclose()
        await pool.close()


async def check_promises(settings: Settings, redis: Redis) -> None:
    """Refuse a Redis that can lose what a success reply promises, or say so loudly, as the settings want it."""
    found = await stream.promises(redis, waits_for_aof=settings.redis_wait_aof == "yes")
    if found.broken and settings.redis_check == "refuse":
        raise SettingsError(
            f"USANCE_REDIS_URL: {'; '.join(found.broken)}. USANCE_REDIS_CHECK=warn starts all the same, without the "
            "promise that accepted events are never lost"
        )
    for reason in (*found.broken, *found.unknown):
        log.error("accepted events may be lost", action="check", reason=reason)


def make_invoicer(settings: Settings, servers: Servers) -> Invoicer:
    """The invoicer, told what every stream holds at the moment a run begins."""

    async def ends() -> Mapping[str, str]:
        return await position.ends(servers.pool, servers.redis, streams=stream.names(settings.streams))

    return Invoicer(servers.pool, ends=ends, late_usage_days=settings.late_usage_days)
