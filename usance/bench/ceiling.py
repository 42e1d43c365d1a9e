"""What the load generator can do when nobody keeps it waiting: what it costs is its own, and far from the meter's.

ceiling(batch, seconds=) -> Ceiling
"""

import asyncio
import subprocess

import msgspec

from usance.bench import load, program
from usance.bench.load import Spec, Target
from usance.bench.traffic import Shape

_CONNECTIONS = 64
_STOP_SECONDS = 5.0


class Ceiling(msgspec.Struct, frozen=True):
    """Against a server that only answers; the processor time is the client's alone."""

    batch: int
    requests_per_second: float
    events_per_second: float
    cpu_seconds_per_million: float


async def ceiling(batch: int, *, seconds: float) -> Ceiling:
    """Send to responder.py."""
    process = program.start("usance.bench.responder", stdout=subprocess.PIPE)
    try:
        port = program.port(process)
        target = Target(host="127.0.0.1", port=port, path="/", authorization="Basic " + "x" * 64)
        spec = Spec(target=target, shape=Shape(batch=batch), connections=_CONNECTIONS, seconds=seconds)
        with load.start(spec) as sending:
            sending.go()
            found = await asyncio.to_thread(sending.result)
    finally:
        program.end(process, seconds=_STOP_SECONDS)
    return Ceiling(
        batch=batch,
        requests_per_second=found.requests / found.accepted_seconds,
        events_per_second=found.accepted_per_second,
        cpu_seconds_per_million=found.client_cpu_seconds / found.events * 1e6,
    )
