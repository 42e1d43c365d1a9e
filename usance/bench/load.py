"""Load: one process that sends events over keep-alive connections, and knows when each of them is counted.

    with load.start(Spec(...)) as running:      built, connected, nothing sent yet
        running.go()
        running.result()                        after the last event is counted

The process runs sender.py. It is told what to do by one line of JSON, says "ready", waits for "go" and answers with one
line. It is a process of its own so that its processor time is known, and so that what it costs is not the meter's.

Each connection has one request under way. A load without `events_per_second` is closed: the next request goes out when
the reply is there, unless more than `backlog_events_max` accepted events wait to be counted. So what is measured over
some time can be sustained for any time.
"""

import contextlib
import os
import select
import subprocess
import time
from types import TracebackType
from typing import IO, ClassVar, Self, cast

import msgspec

from usance.bench import program
from usance.bench.traffic import Ledger, Shape

_START_SECONDS_MAX = 120.0
_SLACK_SECONDS = 300.0
_END_SECONDS = 5.0
_READ_BYTES = 1 << 20


class LoadError(Exception):
    """The load generator did not come to its end; its last words follow."""

    code: ClassVar[str] = "BENCH_LOAD"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where events go. `database_url`: where positions are looked up; without one nothing waits for counting."""

    host: str
    port: int
    path: str
    authorization: str
    database_url: str | None = None


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the load generator."""

    target: Target
    shape: Shape
    connections: int
    seconds: float
    events_per_second: float | None = None
    backlog_events_max: int = 60_000


class Quantiles(msgspec.Struct, frozen=True):
    """Seconds."""

    p50: float
    p99: float
    max: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it. `unique_events` leaves the duplicates out; rates of the second half show whether it lasts."""

    requests: int
    events: int
    unique_events: int
    refused: int
    accepted_seconds: float
    counted_seconds: float
    reply: Quantiles
    visible: Quantiles
    client_cpu_seconds: float
    backlog_events_max: int
    held_share: float
    late_accepted_per_second: float
    late_counted_per_second: float
    ledger: Ledger

    @property
    def accepted_per_second(self) -> float:
        return self.events / self.accepted_seconds

    @property
    def counted_per_second(self) -> float:
        """Without the duplicates; the time until the last event is in the counters is part of it."""
        return self.unique_events / self.counted_seconds

    @property
    def requests_per_second(self) -> float:
        """Requests all of whose events were counted in that time."""
        return self.requests / self.counted_seconds


def start(spec: Spec) -> "Running":
    """Start the process, and wait until it has built what it sends."""
    return Running(spec)


class Running:
    """A load generator at work; a context manager that ends it."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._process = program.start("usance.bench.sender", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._stdin, self._stdout = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        self._say(msgspec.json.encode(spec))
        if self._line(_START_SECONDS_MAX) != b"ready\n":
            self.kill()
            raise LoadError("the load generator could not start; its reason stands above")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def go(self) -> None:
        """Begin to send."""
        self._say(b"go")

    def stop(self) -> None:
        """Send nothing more; the result comes when all is counted."""
        self._say(b"stop")

    def is_done(self, *, seconds: float = 0.0) -> bool:
        """Whether the result, or the end, has come within so many seconds."""
        return bool(select.select([self._stdout], [], [], seconds)[0])

    def result(self) -> Result:
        """Wait for the result."""
        line = self._line(self._spec.seconds + _SLACK_SECONDS)
        if not line.endswith(b"\n"):
            self._process.wait(_END_SECONDS)
            raise LoadError(f"the load generator ended with {self._process.returncode}; its reason stands above")
        return msgspec.json.decode(line, type=Result)

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        # What it was not told any more does not matter.
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def _say(self, line: bytes) -> None:
        self._stdin.write(line + b"\n")
        self._stdin.flush()

    def _line(self, seconds: float) -> bytes:
        """A line of any length; what has come so far, if that is the end."""
        pipe, deadline, parts = self._stdout.fileno(), time.monotonic() + seconds, [b""]
        while not parts[-1].endswith(b"\n"):
            if not self.is_done(seconds=max(deadline - time.monotonic(), 0)):
                raise LoadError(f"the load generator said nothing for {seconds:.0f} s")
            parts.append(os.read(pipe, _READ_BYTES))
            if not parts[-1]:
                break
        return b"".join(parts)
