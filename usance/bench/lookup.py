"""How long a look-up takes with many counters: alone, and while events come in.

    current      the last 30 days until this instant, of one customer, both metrics: POST /usage/query
    series       90 days of one customer, by day and by model: POST /usage/query with window and groupBy
    calculate    30 days of one alias: GET /usage-metrics/{id}/calculate

Each look-up has its instant, whether the one before is answered or not, and its time counts from there: what waits is
not overlooked. Busy and quiet customers take turns; some of the busy ones are those that send nearly all events. The
counters come from events that were sent through the product (past.py), which is part of what is told.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from usance.bench import ask, installation, line, load, past, point, traffic
from usance.bench.installation import Installation, Metrics
from usance.bench.line import Line
from usance.bench.load import Spec, Target
from usance.bench.machine import Memory
from usance.bench.past import Past
from usance.client import Client, RefusedError

COUNTERS, SECONDS, EVENTS_PER_SECOND = 1_000_000, 30.0, 50_000
LOOKUPS_PER_SECOND = 30
LOOKUPS_UNDER_WAY_MAX = 32
CUSTOMERS_ASKED_MAX = 200
WARM_SECONDS = 3.0
SETTLE_SECONDS = 3.0
BATCH, CONNECTIONS = 100, 16
COUNT_SECONDS_MAX = 600.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a run."""

    counters: int = COUNTERS
    seconds: float = SECONDS
    events_per_second: int = EVENTS_PER_SECOND
    lookups_per_second: int = LOOKUPS_PER_SECOND
    json: Path | None = None


class Times(msgspec.Struct, frozen=True, rename="camel"):
    """Of one kind of look-up, in milliseconds."""

    lookups: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Everything. Memory is PSS of all processes, Postgres and Valkey included."""

    counters: int
    events_filled: int
    fill_seconds: float
    idle: dict[str, Times]
    load: dict[str, Times]
    events_per_second: int
    counted_per_second: float
    visible_p99_seconds: float
    lookup_p99_seconds: float
    memory_fresh: Mapping[str, Memory]
    memory_idle: Mapping[str, Memory]
    memory_load: Mapping[str, Memory]
    pss_idle: int
    pss_load: int


def run(options: Options, console: Console) -> None:
    """Measure, and say it; for machines in a file."""
    with Installation() as running, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_measure(options, running, console))
    _show(result, console)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


async def _measure(options: Options, running: Installation, console: Console) -> Result:
    await asyncio.sleep(SETTLE_SECONDS)
    fresh = point.memory(running)
    filled = Past(counters=options.counters, until=ask.midnight(datetime.now(UTC)))
    started = time.monotonic()
    asks = await _fill(running, filled)
    fill_seconds = time.monotonic() - started
    console.print(f"{options.counters:,} counters after {fill_seconds:.0f} s, through the product")
    await asyncio.sleep(SETTLE_SECONDS)
    memory_idle = point.memory(running)
    idle = await _look(running.target(), asks, options, seconds=options.seconds)
    with load.start(_spec(options, running, filled)) as sending:
        sending.go()
        await _look(running.target(), asks, options, seconds=WARM_SECONDS)
        loaded = await _look(running.target(), asks, options, seconds=options.seconds)
        memory_load = point.memory(running)
        sending.stop()
        sent = await asyncio.to_thread(sending.result)
    return Result(
        counters=options.counters,
        events_filled=past.events(filled),
        fill_seconds=fill_seconds,
        idle=idle,
        load=loaded,
        events_per_second=options.events_per_second,
        counted_per_second=sent.counted_per_second,
        visible_p99_seconds=sent.visible.p99,
        lookup_p99_seconds=max(times.p99_ms for times in loaded.values()) / 1_000,
        memory_fresh=fresh,
        memory_idle=memory_idle,
        memory_load=memory_load,
        pss_idle=sum(one.pss for one in fresh.values()),
        pss_load=sum(one.pss for one in memory_load.values()),
    )


async def _fill(running: Installation, filled: Past) -> ask.Asks:
    metrics = await installation.describe(running)
    asked = _asked(filled)
    async with running.client() as client:
        customers = await past.create_customers(client, asked)
        await _count(client, await past.send(client, filled), metrics)
    return ask.Asks(metrics, list(zip(asked, customers, strict=True)))


def _spec(options: Options, running: Installation, filled: Past) -> Spec:
    return Spec(
        target=running.target(),
        shape=traffic.Shape(batch=BATCH, customers=filled.customers),
        connections=CONNECTIONS,
        # Until it is told to stop.
        seconds=WARM_SECONDS + 10 * options.seconds,
        events_per_second=options.events_per_second,
    )


def _asked(filled: Past) -> list[int]:
    """The customers that are asked for: as many busy as quiet ones, in turns."""
    count = min(filled.busy, CUSTOMERS_ASKED_MAX // 2)
    quiet = range(filled.busy, filled.busy + count)
    return [number for pair in zip(range(count), quiet, strict=True) for number in pair]


async def _count(client: Client, position: str, metrics: Metrics) -> None:
    """Wait until everything up to a position is counted."""
    deadline = time.monotonic() + COUNT_SECONDS_MAX
    body = {
        "metrics": [metrics.calls],
        "customerAliases": ["nobody"],
        "from": "2025-01-01T00:00:00Z",
        "to": "2025-01-02T00:00:00Z",
        "after": position,
    }
    while True:
        try:
            await client.post("/usage/query", body)
        except RefusedError as exc:
            # Counting behind.
            if exc.status != 504 or time.monotonic() > deadline:
                raise
        else:
            return


async def _look(target: Target, asks: ask.Asks, options: Options, *, seconds: float) -> dict[str, Times]:
    """Look up at a steady rate for so long."""
    lines: asyncio.Queue[Line] = asyncio.Queue()
    for _ in range(LOOKUPS_UNDER_WAY_MAX):
        lines.put_nowait(await line.open_line(target))
    found: dict[str, list[float]] = {kind: [] for kind in asks.KINDS}

    async def look(due: float) -> None:
        one, using = asks.next(datetime.now(UTC)), await lines.get()
        reply = await using.ask(one.method, one.path, one.body)
        if reply.status != 200:
            raise RefusedError(f"a look-up was answered with {reply.status}: {reply.body!r}", status=reply.status)
        found[one.kind].append(time.monotonic() - due)
        lines.put_nowait(using)

    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * options.lookups_per_second)):
            due = started + number / options.lookups_per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(look(due))
    while not lines.empty():
        lines.get_nowait().close()
    return {kind: _times(some) for kind, some in found.items()}


def _times(seconds: Sequence[float]) -> Times:
    some = sorted(seconds)
    return Times(len(some), some[len(some) // 2] * 1e3, some[int(len(some) * 0.99)] * 1e3, some[-1] * 1e3)


def _show(result: Result, console: Console) -> None:
    table = Table(title=f"Look-ups with {result.counters:,} counters, milliseconds")
    for name in ("", "idle p50", "idle p99", "load p50", "load p99", "load max"):
        table.add_column(name, justify="right")
    for kind in result.idle:
        idle, loaded = result.idle[kind], result.load[kind]
        cells = (idle.p50_ms, idle.p99_ms, loaded.p50_ms, loaded.p99_ms, loaded.max_ms)
        table.add_row(kind, *(f"{cell:.1f}" for cell in cells))
    console.print(table)
    console.print(
        f"Load: {result.events_per_second:,} events/s sent, {result.counted_per_second:,.0f} counted/s, "
        f"visible p99 {result.visible_p99_seconds:.2f} s"
    )
    memory = Table(title="Memory (PSS), MB")
    for name in ("", "fresh", "idle, filled", "load"):
        memory.add_column(name, justify="right")
    looks = (result.memory_fresh, result.memory_idle, result.memory_load)
    for name in result.memory_load:
        memory.add_row(name, *(f"{look.get(name, Memory()).pss / 1e6:,.0f}" for look in looks))
    memory.add_row("all", *(f"{sum(one.pss for one in look.values()) / 1e6:,.0f}" for look in looks))
    console.print(memory)
