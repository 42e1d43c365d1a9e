"""One point of a benchmark: a load, and what the installation spent on it.

measure(running, spec) -> Point

Costs are per event that was accepted. Processor time is the difference of what the processes had used before the first
request and after the last event was counted; memory is the largest sum that was seen, a look every three seconds: each
look costs the kernel milliseconds for each process.
"""

from collections.abc import Mapping

import asyncpg
import msgspec

from store import footprint
from usance.bench import load, machine
from usance.bench.installation import Installation
from usance.bench.load import Result, Spec
from usance.bench.machine import Memory

_LOOK_SECONDS = 3.0
# A load that is counted slower than it is accepted cannot last.
STABLE_SHARE = 0.9

CLIENT = "load generator"


class Disk(msgspec.Struct, frozen=True):
    """Bytes since the installation was made."""

    wal: int
    database: int
    stream_log: int


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent, how it went and what it cost."""

    batch: int
    connections: int
    distribution: str
    ids: str
    events_per_second: float | None
    seconds: float
    result: Result
    cpu_seconds: Mapping[str, float]
    other_cpu_seconds: float
    memory: Mapping[str, Memory]
    disk: Disk

    @property
    def cpu_seconds_per_million(self) -> dict[str, float]:
        millions = self.result.events / 1e6
        return {name: seconds / millions for name, seconds in self.cpu_seconds.items()}

    @property
    def cpu_total(self) -> float:
        return sum(self.cpu_seconds_per_million.values())

    @property
    def pss(self) -> int:
        """Of all processes of the product: the client is no part of it."""
        return sum(one.pss for one in self.memory.values())

    @property
    def is_stable(self) -> bool:
        """In the second half as much was counted as was accepted."""
        return self.result.late_counted_per_second >= STABLE_SHARE * self.result.late_accepted_per_second


async def measure(running: Installation, spec: Spec) -> Point:
    """Send, and look at what it costs."""
    with load.start(spec) as sending:
        before, busy, disk = _cpu(running), machine.busy_seconds(), await look(running)
        sending.go()
        most = memory(running)
        while not sending.is_done(seconds=_LOOK_SECONDS):
            most = max(most, memory(running), key=lambda one: sum(part.pss for part in one.values()))
        result = sending.result()
        after, busy_after, disk_after = _cpu(running), machine.busy_seconds(), await look(running)
    spent = {name: after[name] - before.get(name, 0.0) for name in after} | {CLIENT: result.client_cpu_seconds}
    return Point(
        batch=spec.shape.batch,
        connections=spec.connections,
        distribution=spec.shape.distribution,
        ids=spec.shape.ids,
        events_per_second=spec.events_per_second,
        seconds=spec.seconds,
        result=result,
        cpu_seconds=spent,
        other_cpu_seconds=max(busy_after - busy - sum(spent.values()), 0.0),
        memory=most,
        disk=Disk(*(new - old for new, old in zip(_numbers(disk_after), _numbers(disk), strict=True))),
    )


def memory(running: Installation) -> dict[str, Memory]:
    """What each part of the installation holds at this moment."""
    return {name: machine.memory(pids) for name, pids in running.parts().items()}


async def look(running: Installation) -> Disk:
    """How much the servers have written so far."""
    conn = await asyncpg.connect(running.endpoints.database_url)
    try:
        found = await footprint.read(conn)
    finally:
        await conn.close()
    files = (running.folder / "data/valkey").rglob("*")
    return Disk(found.wal_bytes, found.database_bytes, sum(path.stat().st_size for path in files if path.is_file()))


def _cpu(running: Installation) -> dict[str, float]:
    return {name: machine.cpu_seconds(pids) for name, pids in running.parts().items()}


def _numbers(disk: Disk) -> tuple[int, int, int]:
    return disk.wal, disk.database, disk.stream_log
