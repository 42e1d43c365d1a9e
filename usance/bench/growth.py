"""What stored events cost the next ones: throughput as the tables grow, with ids in the order of time and with random
ones.

At each mark events go all the way through the product for some seconds, at its limit. Between the marks the two tables
that grow with every event, event_key and usage_event, are filled by the server itself with rows that look like the
ones that were sent, with all of their indexes (store/ballast.py): sending 100 million events would take most of an
hour for each kind of ids. Each kind has an installation of its own. It goes on to the next mark as long as there is
time for it.
"""

import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from store import ballast
from usance.bench import installation, point, traffic
from usance.bench.installation import Installation
from usance.bench.load import Spec
from usance.bench.point import Point
from usance.bench.traffic import Ids

EVENTS, MINUTES, SECONDS = 100_000_000, 10.0, 10.0
MARKS = (0, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 60_000_000, 100_000_000)
KINDS: tuple[Ids, ...] = ("ordered", "random")
BATCH, CONNECTIONS = 500, 8
CHUNK = 100_000
# Cleaning up after 40 million rows.
STATEMENT_SECONDS_MAX = 1_800.0
WARM_SECONDS = 2.0
_ACCOUNT = 1


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a run."""

    events: int = EVENTS
    minutes: float = MINUTES
    seconds: float = SECONDS
    json: Path | None = None


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement: `stored` events were there before it, `ratio` is to the first of its kind."""

    ids: str
    stored: int
    counted_per_second: float
    ratio: float
    cpu_seconds_per_million: float
    cpu_by_part: dict[str, float]
    disk_bytes_per_event: float
    wal_bytes_per_event: float
    visible_p99_seconds: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All marks that there was time for."""

    marks: list[Mark]


def run(options: Options, console: Console) -> None:
    """Measure, and say it; for machines in a file."""
    marks: list[Mark] = []
    for ids in KINDS:
        with Installation() as running, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            marks += runner.run(_grow(options, running, ids, console))
    _show(marks, console)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(Result(marks=marks))) + b"\n")


async def _grow(options: Options, running: Installation, ids: Ids, console: Console) -> list[Mark]:
    deadline = time.monotonic() + options.minutes * 60 / len(KINDS)
    await installation.describe(running)
    # What is filled looks like this, and first connections, plans and partitions are made.
    stored = (await point.measure(running, _spec(running, ids, seconds=WARM_SECONDS, seed=0))).result.events
    marks: list[Mark] = []
    started, filled = time.monotonic(), 0
    for number, mark in enumerate([*(one for one in MARKS if one < options.events), options.events]):
        missing = max(0, mark - stored)
        seconds = missing * (time.monotonic() - started) / filled if filled else 0.0
        if marks and time.monotonic() + seconds + options.seconds > deadline:
            console.print(f"{ids} ids: no time for {mark:,} events")
            break
        if missing:
            before = time.monotonic()
            await _fill(running, ids, events=missing)
            started, filled = before, missing
        found = await point.measure(running, _spec(running, ids, seconds=options.seconds, seed=1 + number))
        size = (await point.look(running)).database / (stored + missing + found.result.events)
        marks.append(_mark(ids, stored + missing, found, bytes_per_event=size, first=marks[0] if marks else None))
        stored += missing + found.result.events
        console.print(_line(marks[-1]))
    return marks


def _spec(running: Installation, ids: Ids, *, seconds: float, seed: int) -> Spec:
    shape = traffic.Shape(batch=BATCH, ids=ids, seed=seed)
    return Spec(target=running.target(), shape=shape, connections=CONNECTIONS, seconds=seconds)


async def _fill(running: Installation, ids: Ids, *, events: int) -> None:
    """Fill by as many connections as there are cores."""
    chunks = iter([CHUNK] * (events // CHUNK) + [events % CHUNK] * (events % CHUNK > 0))
    cores = os.cpu_count() or 1
    url = running.endpoints.database_url
    pool = await asyncpg.create_pool(url, min_size=cores, max_size=cores, command_timeout=STATEMENT_SECONDS_MAX)

    async def fill() -> None:
        # One iterator for all: each takes what comes next.
        async with pool.acquire() as conn:
            for some in chunks:
                await ballast.add(conn, _ACCOUNT, events=some, is_time_ordered=ids == "ordered", now=datetime.now(UTC))

    async with pool:
        await asyncio.gather(*(fill() for _ in range(cores)))
        async with pool.acquire() as conn:
            await ballast.settle(conn)


def _mark(ids: Ids, stored: int, found: Point, *, bytes_per_event: float, first: Mark | None) -> Mark:
    counted = found.result.counted_per_second
    return Mark(
        ids=ids,
        stored=stored,
        counted_per_second=counted,
        ratio=counted / first.counted_per_second if first else 1.0,
        cpu_seconds_per_million=found.cpu_total,
        cpu_by_part=found.cpu_seconds_per_million,
        disk_bytes_per_event=bytes_per_event,
        wal_bytes_per_event=found.disk.wal / found.result.events,
        visible_p99_seconds=found.result.visible.p99,
    )


def _line(mark: Mark) -> str:
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in mark.cpu_by_part.items())
    return (
        f"{mark.ids}, {mark.stored:,} stored: {mark.counted_per_second:,.0f} counted/s, {mark.ratio:.0%} of empty; "
        f"CPU seconds per million: {parts}"
    )


def _show(marks: list[Mark], console: Console) -> None:
    table = Table(title="Throughput by stored events")
    names = ("ids", "stored", "counted/s", "of empty", "CPU s/million", "WAL B/event", "disk B/event", "visible p99 s")
    for name in names:
        table.add_column(name, justify="right")
    for mark in marks:
        table.add_row(
            mark.ids,
            f"{mark.stored:,}",
            f"{mark.counted_per_second:,.0f}",
            f"{mark.ratio:.0%}",
            f"{mark.cpu_seconds_per_million:.1f}",
            f"{mark.wal_bytes_per_event:,.0f}",
            f"{mark.disk_bytes_per_event:,.0f}",
            f"{mark.visible_p99_seconds:.2f}",
        )
    console.print(table)
