"""The processes without a port: the aggregator's and the invoicer's loop, each with connections of its own.

aggregate(settings, stop)        until `stop`
invoice(settings, stop)          until `stop`
invoice_once(settings, now=)     what is due at `now`, then the end
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec
import structlog
from redis.asyncio import Redis

from invoicer.run import Invoicer
from meter import stream
from meter.aggregate import Aggregator
from runtime import process
from runtime.errors import SettingsError
from runtime.settings import Settings
from store import db

log = structlog.get_logger(__name__)

# How long an event or a due schedule may lie before an idle loop looks again.
_AGGREGATE_IDLE_SECONDS = 0.04
_INVOICE_IDLE_SECONDS = 1.0


class Servers(msgspec.Struct, frozen=True):
    """Connections of one process, checked."""

    pool: db.Pool
    redis: Redis


async def aggregate(settings: Settings, stop: asyncio.Event) -> None:
    """Count what is accepted."""
    async with connected(settings) as servers:
        for broken in await stream.broken_promises(servers.redis):
            log.warning("a promise is not kept", action="aggregate", reason=broken)
        aggregator = Aggregator(servers.pool, servers.redis, settings=settings)
        await process.serve(aggregator.step, stop, name="aggregate", idle_seconds=_AGGREGATE_IDLE_SECONDS)


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
async def connected(settings: Settings) -> AsyncIterator[Servers]:
    """Connections, after a look at the schema; closed at the end."""
    if settings.database_url is None or settings.redis_url is None:
        raise SettingsError("no servers: set USANCE_DATABASE_URL and USANCE_REDIS_URL, or start `usance up` first")
    pool = await db.connect_pool(settings.database_url, max_size=settings.database_connections_max)
    redis = stream.connect(settings.redis_url)
    try:
        async with pool.acquire() as conn:
            await db.check_schema(conn)
        yield Servers(pool, redis)
    finally:
        await redis.aclose()
        await pool.close()


def make_invoicer(settings: Settings, servers: Servers) -> Invoicer:
    """The invoicer, told what every stream holds at the moment a run begins."""

    async def ends() -> Mapping[str, str]:
        return await stream.ends(servers.redis, stream.names(settings.streams))

    return Invoicer(servers.pool, ends=ends)
