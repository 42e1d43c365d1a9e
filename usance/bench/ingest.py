"""`usance bench ingest`: how many events a second go from a request into the counters, and what each costs.

    run(options, console) -> exit code      0: all counters are exact

    the limits         what the parts can do on this machine (limit.py), first, on servers that are still empty
    the sweep          sizes of batches x requests under way, a skewed distribution, some seconds each
    single events at a thousand a second    what a small installation sees
    the best batches   held for a minute: the headline
    uniform customers, random ids           beside it
    exactness          every counter against what was accepted, over all of these

`--quick` is two points of the sweep and the exactness.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import msgspec
import uvloop
from rich.console import Console

from runtime.errors import SettingsError
from usance.bench import ceiling, exactness, installation, limit, machine, point, report, traffic
from usance.bench.ceiling import Ceiling
from usance.bench.exactness import Verdict
from usance.bench.installation import Installation
from usance.bench.limit import Limits
from usance.bench.load import Spec
from usance.bench.machine import Memory
from usance.bench.point import Point
from usance.bench.traffic import Distribution, Ids, Ledger, Shape

# Batch x requests under way.
SWEEP = ((1, 64), (1, 256), (10, 64), (100, 8), (100, 16), (100, 32), (1_000, 4), (1_000, 8))
QUICK = ((100, 16), (1, 64))
GENTLE_EVENTS_PER_SECOND = 1_000.0
GENTLE_CONNECTIONS = 16
# The headline is about batches as an SDK sends them.
HEADLINE_BATCH_MIN = 100

Sweep: TypeAlias = "Sequence[tuple[int, int]]"
_POINT = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})", re.ASCII)

Say: TypeAlias = Callable[[str], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line said."""

    sweep: Sweep = SWEEP
    seconds: float = 5.0
    hold_seconds: float = 60.0
    http_workers: int | None = None
    ids: Ids = "ordered"
    backlog_events_max: int = 60_000
    is_quick: bool = False
    has_limits: bool = True
    json: Path | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    measured_at: datetime
    machine: str
    ids: Ids
    ceilings: tuple[Ceiling, ...]
    limits: Limits | None
    memory_idle: Mapping[str, Memory]
    points: tuple[Point, ...]
    held: Point | None
    verdict: Verdict

    @property
    def best(self) -> Point | None:
        """The headline: what was held, or else the best of the sweep that can last."""
        return self.held or _best([one for one in self.points if one.ids == self.ids])

    @property
    def singles(self) -> Point | None:
        """The best point of single events."""
        found = [one for one in self.points if one.batch == 1 and one.events_per_second is None]
        return max(found, key=lambda one: one.result.requests_per_second, default=None)


def sweep(text: str) -> Sweep:
    """Points as a person writes them: "100x16,1x64"."""
    found = [_POINT.fullmatch(one.strip()) for one in text.split(",")]
    if not all(found):
        raise SettingsError(f"--points: {text!r} is not allowed; give e.g. 100x16,1x64")
    return tuple((int(one[1]), int(one[2])) for one in found if one)


def run(options: Options, console: Console) -> int:
    """Measure, tell people and machines; answers the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(options, say=lambda text: console.print(f"[dim]{text}[/]")))
    report.show(found, console)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report.table(found))) + b"\n")
    return 0 if found.verdict.exact else 1


async def measure(options: Options, *, say: Say) -> Result:
    """Measure everything that the options ask for."""
    now = datetime.now(UTC)
    ceilings = () if options.is_quick else await _ceilings(options, say=say)
    with Installation(http_workers=options.http_workers) as running:
        memory_idle = point.memory(running)
        limits = None
        if options.has_limits and not options.is_quick:
            say("the limits: copy, unique insert, hand-written, hand-written in batches, stream")
            limits = await limit.measure(running, seconds=options.seconds)
        metrics = await installation.describe(running)
        points, held = await _points(_Bench(running, options, say))
        ledger: Ledger = {}
        for one in (*points, *([held] if held else [])):
            traffic.add(ledger, one.result.ledger)
        say("comparing the counters")
        verdict = await exactness.examine(running, metrics, ledger)
    return Result(
        measured_at=now,
        machine=machine.describe(),
        ids=options.ids,
        ceilings=ceilings,
        limits=limits,
        memory_idle=memory_idle,
        points=points,
        held=held,
        verdict=verdict,
    )


async def _ceilings(options: Options, *, say: Say) -> tuple[Ceiling, ...]:
    say("the load generator alone")
    biggest = max(batch for batch, _ in options.sweep)
    return tuple([await ceiling.ceiling(batch, seconds=options.seconds / 2) for batch in sorted({1, biggest})])


class _Bench:
    """Measures points, each with another seed, and says how they went."""

    def __init__(self, running: Installation, options: Options, say: Say) -> None:
        self._running = running
        self._say = say
        self._seed = 0
        self.options = options

    async def point(
        self,
        of: tuple[int, int],
        *,
        distribution: Distribution = "skewed",
        ids: Ids | None = None,
        seconds: float | None = None,
        events_per_second: float | None = None,
    ) -> Point:
        self._seed += 1
        batch, connections = of
        spec = Spec(
            target=self._running.target(),
            shape=Shape(batch=batch, distribution=distribution, ids=ids or self.options.ids, seed=self._seed),
            connections=connections,
            seconds=seconds or self.options.seconds,
            events_per_second=events_per_second,
            backlog_events_max=self.options.backlog_events_max,
        )
        found = await point.measure(self._running, spec)
        self._say(report.line(found))
        return found


async def _points(bench: _Bench) -> tuple[tuple[Point, ...], Point | None]:
    """The points of the sweep and those beside it, and the one that was held."""
    options = bench.options
    points = [await bench.point(one) for one in options.sweep]
    if options.is_quick:
        return tuple(points), None
    sizes = sorted({batch for batch, _ in options.sweep})
    best = [_best([one for one in points if one.batch == size], batch_min=size) for size in sizes]
    shapes = [(one.batch, one.connections) for one in best if one is not None]
    points.append(await bench.point((1, GENTLE_CONNECTIONS), events_per_second=GENTLE_EVENTS_PER_SECOND))
    headline = _best(points)
    held = None
    if headline is not None and options.hold_seconds:
        held = await bench.point((headline.batch, headline.connections), seconds=options.hold_seconds)
    points += [await bench.point(one, distribution="uniform") for one in shapes]
    if headline is not None:
        others: Ids = "random" if options.ids == "ordered" else "ordered"
        points.append(await bench.point((headline.batch, headline.connections), ids=others))
    return tuple(points), held


def _best(points: Sequence[Point], *, batch_min: int = HEADLINE_BATCH_MIN) -> Point | None:
    """The fastest that can last, of skewed customers, in batches; if there is none of these, of all."""
    skewed = [one for one in points if one.distribution == "skewed" and one.events_per_second is None]
    found = [one for one in skewed if one.batch >= batch_min] or skewed
    lasting = [one for one in found if one.is_stable] or found
    return max(lasting, key=lambda one: one.result.counted_per_second, default=None)
