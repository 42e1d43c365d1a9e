"""The HTTP process: where requests, rooms and servers are wired together. The composition root of the HTTP side.

`make_app` builds the application from connections that exist; `serve_http` is a whole process: connect, check the
schema, listen, stop in order. Middlewares from the outside in: measure and log, answer errors, authenticate.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial

import structlog
from aiohttp import hdrs, web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api import (
    account,
    alias,
    auth,
    backfill,
    balance,
    credit,
    customer,
    dead_letter,
    invoice,
    journal,
    line,
    metric,
    price,
    product,
    schedule,
    seat_balance,
    seat_event,
    seat_metric,
    status,
    tax,
    usage,
    usage_event,
    usage_query,
    usage_stream,
    usage_token,
    wire,
)
from api.rate import Rates
from api.usage_token import Tokens
from invoicer import purchase, recalculate
from meter import dead_letter as letters
from meter import history, identity, ingest, position, shortcut, stream
from meter.error import StreamUnavailable
from meter.live import Live
from meter.load import Loads
from meter.shortcut import Shortcut
from runtime import process, telemetry
from runtime.connection import SHORTCUT, Runner
from runtime.errors import SettingsError
from runtime.settings import Settings
from store import db
from usance.loop import check_promises, connected

log = structlog.get_logger(__name__)

# The largest body that any route may ask for; each route has a smaller limit of its own where it can.
BODY_BYTES_MAX = 8 * 1024 * 1024 + 1024
READY_SECONDS_MAX = 2.0
# A look-up that comes while others wait for Postgres should not wait for a new connection.
CONNECTIONS_READY = 4

REDIS: "web.AppKey[Redis]" = web.AppKey("redis")


def utc_now() -> datetime:
    """The clock of the edge."""
    return datetime.now(UTC)


def make_app(
    *,
    settings: Settings,
    pool: db.Pool,
    redis: Redis,
    clock: wire.Clock = utc_now,
) -> web.Application:
    """The application, from connections that exist and outlive it."""
    keys, rates = auth.Keys(pool), _rates(settings)
    app = web.Application(
        middlewares=[journal.keep, status.answer_errors, auth.authenticate(keys, Tokens(pool), rates)],
        client_max_size=BODY_BYTES_MAX,
    )
    app[wire.POOL] = pool
    app[wire.CLOCK] = clock
    app[REDIS] = redis
    app.add_routes([web.get("/health", _health), web.get("/ready", _ready), web.get("/metrics", _metrics)])
    for resource in (account, customer, alias, product, price, schedule, line, usage, usage_token):
        app.add_routes(_below_api(resource.routes()))
    ends = partial(_ends, pool, redis, settings.streams)
    app.add_routes(_below_api(invoice.routes(partial(recalculate.again, pool, ends))))
    app.add_routes(_below_api(credit.routes(purchase.charge)))
    for resource in (balance, tax):
        app.add_routes(_below_api(resource.routes()))
    for seats in (seat_metric, seat_event, seat_balance):
        app.add_routes(_below_api(seats.routes()))
    app.add_routes(_below_api(metric.routes(history.begin)))
    app.add_routes(
        _below_api(dead_letter.routes(opened=letters.opened, replay=letters.replay, discard=letters.discard))
    )
    app.add_routes(
        _below_api(
            usage_event.routes(
                wait=partial(position.wait, pool, redis=redis, streams=settings.streams),
                named=lambda text: identity.public_id(identity.named(text)),
            )
        )
    )
    live = Live(redis)
    streams = usage_stream.Streams(watch=live.watch)
    app.on_shutdown.append(streams.end)
    app.cleanup_ctx.append(partial(_listening, live))
    app.add_routes(
        _below_api(usage_query.routes(wait=partial(position.wait, pool, redis=redis, streams=settings.streams)))
    )
    app.add_routes(_below_api(usage_stream.routes(streams)))
    app.add_routes(_below_api(backfill.routes(ends)))
    writer = ingest.Writer(redis, settings=settings)
    loads = Loads(pool, events_max=settings.backfill_events_max)
    app.add_routes(_below_api(ingest.routes(writer, clock=clock, caller=wire.principal, loads=loads)))
    if not rates.is_on:
        # Whoever counts requests sees all of them.
        app[SHORTCUT] = _shortcut(writer, keys, clock).take
    return app


def _shortcut(writer: ingest.Writer, keys: auth.Keys, clock: wire.Clock) -> Shortcut:
    """Events past the middlewares: what these do for them is done here, by the same functions."""
    path = f"/api{shortcut.PATH}"
    return Shortcut(
        writer.append,
        path=path,
        clock=clock,
        sender=keys.sender,
        refuse=partial(status.refuse, path=path),
        keep=partial(journal.note, hdrs.METH_POST, path, path),
    )


async def _listening(live: Live, _: web.Application) -> AsyncIterator[None]:
    """Hear what aggregators say, from the first request to the last."""
    stop = asyncio.Event()
    task = asyncio.create_task(live.run(stop), name="live")
    yield
    stop.set()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _ends(pool: db.Pool, redis: Redis, streams: int) -> Mapping[str, str]:
    """The last id of every stream, for whoever has to come after what is accepted."""
    try:
        return await position.ends(pool, redis, streams=stream.names(streams))
    except (RedisError, OSError, TimeoutError) as exc:
        raise StreamUnavailable("The event streams cannot be reached. Nothing was changed; try again.") from exc


def _rates(settings: Settings) -> Rates:
    return Rates(ingest=settings.rate_limit_ingest, api=settings.rate_limit_api, workers=settings.http_workers or 1)


async def serve_http(
    settings: Settings, stop: asyncio.Event, *, on_listening: Callable[[str], None] | None = None
) -> None:
    """Answer requests until `stop`. `on_listening` is told the URL once the first request could come."""
    async with connected(settings, ready=CONNECTIONS_READY) as servers:
        await check_promises(settings, servers.redis)
        app = make_app(settings=settings, pool=servers.pool, redis=servers.redis)
        # Bodies are inflated by whoever reads them: aiohttp's own way accepts truncated ones.
        runner = Runner(app, auto_decompress=False, access_log=None, shutdown_timeout=settings.stop_seconds)
        await runner.setup()
        try:
            url = await _listen(runner, settings)
            log.info("listening", action="serve", url=url)
            if on_listening is not None:
                on_listening(url)
            # Connections that the kernel gives to a process that hangs wait for ever.
            await process.watch(stop)
        finally:
            await runner.cleanup()
    log.info("stopped", action="serve")


async def _listen(runner: web.AppRunner, settings: Settings) -> str:
    """Listen on the socket we inherited, or on one of our own; answer its URL."""
    site: web.BaseSite
    if settings.listen_fd is not None:
        site = web.SockSite(runner, socket.socket(fileno=settings.listen_fd))
    else:
        # Several workers of one port: the kernel spreads connections over them.
        site = web.TCPSite(runner, settings.host, settings.port, reuse_port=(settings.http_workers or 1) > 1)
    try:
        await site.start()
    except OSError as exc:
        place = f"{settings.host}:{settings.port}"
        raise SettingsError(f"cannot listen on {place}: {exc.strerror}; choose another with --port or --host") from exc
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _below_api(routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    return [web.RouteDef(r.method, f"/api{r.path}", r.handler, r.kwargs) for r in routes]


async def _health(_: web.Request) -> web.Response:
    """The process lives. Says nothing about the servers behind it: restarting this one would not help them."""
    return wire.reply({"status": "ok"})


async def _ready(request: web.Request) -> web.Response:
    """Whether to send requests here. Yes while events can be accepted: ingest goes on without Postgres."""
    redis, postgres = await asyncio.gather(
        _answers(request.app[REDIS].ping),
        _answers(lambda: request.app[wire.POOL].fetchval("select 1", timeout=READY_SECONDS_MAX)),
    )
    state = {"status": "ready" if redis else "not ready", "redis": _word(redis), "postgres": _word(postgres)}
    return wire.reply(state, 200 if redis else 503)


async def _answers(ask: Callable[[], Awaitable[object]]) -> bool:
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            await ask()
    except Exception as exc:  # noqa: BLE001 whatever it is, the server did not answer
        log.warning("a server does not answer", action="ready", error=repr(exc))
        return False
    return True


def _word(answers: bool) -> str:
    return "ok" if answers else "away"


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(
        body=telemetry.exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )
