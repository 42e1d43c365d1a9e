"""GET /usage/stream: one customer's metrics of the current window, pushed when they change (server-sent events).

    id: 0/1741608000000-0                                   the position up to which everything is counted
    event: usage
    data: {"items": [...], "countedUpTo": "..."}            as POST /usage/query answers

Every message has whole values, no differences, so a client that comes back with Last-Event-ID misses nothing by getting
the newest alone; it gets none if nothing was counted meanwhile. Between messages a comment keeps the connection alive.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import TypeAlias
from uuid import UUID

import msgspec
import structlog
from aiohttp import web

from api import error, usage_query, wire
from rating import window
from rating.window import Window
from store import account
from store import usage_query as queries
from store.account import Principal
from store.db import Connection
from store.usage_query import Answer, Query

log = structlog.get_logger(__name__)

# Something that is set whenever the account's usage has changed.
Watch: TypeAlias = "Callable[[int], contextlib.AbstractContextManager[asyncio.Event]]"
Look: TypeAlias = Callable[[], Awaitable[Answer]]

STREAMS_MAX = 1_000
# A pause between two looks, so that a busy account costs a query a few times a second and not for every batch.
PAUSE_SECONDS = 0.2
# Also how long it takes to notice what nobody was told of: a lost message, another day.
KEEP_ALIVE_SECONDS = 15.0
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_ENCODER = msgspec.json.Encoder()


class Streams:
    """The streams of one process, and their common end."""

    def __init__(self, *, watch: Watch) -> None:
        self.watch = watch
        self.ended = asyncio.Event()
        self.open = 0

    async def end(self, _: web.Application) -> None:
        """Let every stream say goodbye: an open one would hold up the end of the process."""
        self.ended.set()


def routes(streams: Streams) -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [web.get("/usage/stream", partial(_stream, streams=streams))]


class _StreamQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    customer_id: UUID
    metrics: str
    window: Window = Window.MONTH
    time_zone: str | None = None
    include_children: bool = False
    last_event_id: str | None = None
    # A usage token may stand here; api/auth.py has read it.
    token: str | None = None


async def _stream(request: web.Request, *, streams: Streams) -> web.StreamResponse:
    who, asked = wire.principal(request), wire.read_query(request, _StreamQuery)
    usage_query.check_token(who, customer=asked.customer_id, includes_children=asked.include_children)
    metrics = wire.split(asked.metrics, UUID, key="metrics") or ()
    if len(metrics) > usage_query.METRICS_MAX:
        raise error.InvalidValue(f"At most {usage_query.METRICS_MAX} metrics at once. Name fewer.", key="metrics")
    if streams.open >= STREAMS_MAX:
        raise error.TooManyStreams
    look = partial(_look, request, asked, metrics=metrics)
    seen = request.headers.get("Last-Event-ID") or asked.last_event_id
    streams.open += 1
    try:
        # Watching begins before the first look, so that nothing falls between the two.
        with streams.watch(who.account) as changed:
            return await _serve(request, streams.ended, changed, look=look, seen=seen)
    finally:
        streams.open -= 1


async def _serve(
    request: web.Request, ended: asyncio.Event, changed: asyncio.Event, *, look: Look, seen: str | None
) -> web.StreamResponse:
    # Before anything is sent: what is wrong with the question is answered as an error.
    found = await look()
    last = found.items
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    if seen != ",".join(found.counted_up_to):
        await response.write(_message(found))
    while not ended.is_set():
        heard = await _wait(changed, ended)
        changed.clear()
        try:
            found = await look()
        except Exception as exc:  # noqa: BLE001 - the status is sent; the client connects again, and is told
            log.warning("stream ended", action="stream", error=repr(exc))
            break
        is_news, last = found.items != last, found.items
        try:
            await response.write(_message(found) if is_news else b"" if heard else b":\n\n")
        except ConnectionResetError:
            # The client has gone away.
            break
    return response


async def _wait(changed: asyncio.Event, ended: asyncio.Event) -> bool:
    """Wait for news, the end, or long enough; answers whether there was any."""
    heard = await _any(changed, ended, seconds=KEEP_ALIVE_SECONDS)
    await _any(ended, seconds=PAUSE_SECONDS)
    return heard


async def _any(*events: asyncio.Event, seconds: float) -> bool:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()
    return bool(done)


async def _look(request: web.Request, asked: _StreamQuery, *, metrics: tuple[UUID, ...]) -> Answer:
    who, now = wire.principal(request), wire.now(request)
    async with (
        wire.connection(request) as conn,
        conn.transaction(isolation="repeatable_read", readonly=True),
    ):
        return await queries.answer(conn, who.account, await _query(conn, asked, who, metrics=metrics, now=now))


async def _query(
    conn: Connection, asked: _StreamQuery, who: Principal, *, metrics: tuple[UUID, ...], now: datetime
) -> Query:
    zone = usage_query.zone_of(asked.time_zone, default=await account.time_zone(conn, who.account))
    periods = None
    if asked.window is Window.BILLING_PERIOD:
        periods = await queries.billing_periods(conn, who.account, customer=asked.customer_id)
    start, end = window.around(asked.window, instant=now, zone=zone, periods=periods)
    return Query(
        metrics=tuple(dict.fromkeys(metrics)),
        start=start,
        end=end,
        customer=asked.customer_id,
        includes_children=asked.include_children,
        zone=zone,
    )


def _message(found: Answer) -> bytes:
    data = _ENCODER.encode(usage_query.show(found))
    return b"id: %b\nevent: usage\ndata: %b\n\n" % (",".join(found.counted_up_to).encode(), data)
