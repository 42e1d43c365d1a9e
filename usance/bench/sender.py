"""The load generator's own process: `python -m usance.bench.sender`, spoken to by load.py.

Requests are bytes that were built before the clock runs, written as they are; of a reply only the status, the length
and the position are looked at. The positions of Postgres say what is counted: one small query every hundredth of a
second, whatever the load.
"""

import asyncio
import gc
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import msgspec
import uvloop

from usance.bench import traffic
from usance.bench.counted import Counted
from usance.bench.load import LoadError, Quantiles, Result, Spec
from usance.bench.traffic import Request, Stamper

POLL_SECONDS = 0.01
PACE_SECONDS = 0.002
# A reply after this long is a fault, and so is a backlog that does not end.
SILENCE_SECONDS_MAX = 60.0
COUNTED_SECONDS_MAX = 240.0
_BUSY_SECONDS = 0.02
_ACCEPTED = frozenset({b"200", b"201", b"202"})
_BUSY = frozenset({b"429", b"503"})


def main() -> None:
    """Read the specification, build, say "ready", wait for "go", send, answer."""
    spec = msgspec.json.decode(sys.stdin.readline(), type=Spec)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_run(spec))
    # A file of its own: with PYTHONUNBUFFERED the process's own one may write a part, and leave it at that.
    with os.fdopen(sys.stdout.fileno(), "wb", closefd=False) as answer:
        answer.write(msgspec.json.encode(result) + b"\n")


async def _run(spec: Spec) -> Result:
    requests = traffic.pool(spec.shape, now=datetime.now(UTC))
    sender = _Sender(spec, requests)
    await sender.connect()
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    stopping = asyncio.create_task(_heard_stop(sender))
    try:
        return await sender.run()
    finally:
        stopping.cancel()


async def _heard_stop(sender: "_Sender") -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    if await reader.readline() == b"stop\n":
        sender.stop()


class _Mark(msgspec.Struct, frozen=True):
    """How many events were accepted and counted at an instant."""

    at: float
    accepted: int
    counted: int


class _Sender:
    """All connections, what they sent and what came of it."""

    def __init__(self, spec: Spec, requests: Sequence[Request]) -> None:
        self._spec = spec
        self._requests = requests
        self._heads = [_head(spec, len(request.body)) for request in requests]
        self._stamper = Stamper(requests, spec.shape.ids)
        self._loop = asyncio.get_running_loop()
        self._connections: list[_Connection] = []
        self._idle: list[_Connection] = []
        self._counted = Counted(spec.target.database_url)
        self._failure = ""
        self._times = [0] * len(requests)
        self._replies: list[float] = []
        self._under_way = self._sent = self._accepted = self._refused = 0
        self._backlog_max = self._held_looks = self._looks = 0
        self._is_stopped = False
        self._started_at = self._last_reply_at = 0.0

    async def connect(self) -> None:
        await self._counted.connect()
        for _ in range(self._spec.connections):
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self), self._spec.target.host, self._spec.target.port
            )
            self._connections.append(connection)

    def stop(self) -> None:
        self._is_stopped = True

    async def run(self) -> Result:
        """Send for as long as told, then wait for the counters."""
        cpu_started_at, self._started_at = time.process_time(), time.monotonic()
        self._loop.call_later(self._spec.seconds, self.stop)
        for connection in self._connections:
            self.next(connection)
        middle = await self._watch(self._spec.seconds / 2)
        end = await self._watch(self._spec.seconds)
        await self._until_answered()
        await self._until_counted()
        # Where nobody counts, the last reply is the end.
        ended_at = time.monotonic() if self._spec.target.database_url else self._last_reply_at
        cpu_seconds = time.process_time() - cpu_started_at
        for connection in self._connections:
            connection.transport.abort()
        late_seconds = max(end.at - middle.at, 1e-9)
        return Result(
            requests=sum(self._times),
            events=self._accepted,
            unique_events=sum(len(of.uses) * count for of, count in zip(self._requests, self._times, strict=True)),
            refused=self._refused,
            accepted_seconds=self._last_reply_at - self._started_at,
            counted_seconds=ended_at - self._started_at,
            reply=_quantiles(self._replies),
            visible=_quantiles(self._counted.seconds),
            client_cpu_seconds=cpu_seconds,
            backlog_events_max=self._backlog_max,
            held_share=self._held_looks / max(self._looks, 1),
            late_accepted_per_second=(end.accepted - middle.accepted) / late_seconds,
            late_counted_per_second=(end.counted - middle.counted) / late_seconds,
            ledger=traffic.ledger(self._requests, self._times),
        )

    def next(self, connection: "_Connection") -> None:
        """The connection has nothing under way: send something, or let it wait."""
        if self._is_stopped:
            return
        if self._must_wait():
            self._idle.append(connection)
            return
        number, data = self._stamper.take(self._heads, time.time_ns() // 1_000_000)
        self._sent += self._spec.shape.batch
        self._under_way += 1
        connection.send(number, data, time.monotonic())

    def answered(self, connection: "_Connection", status: bytes, position: bytes) -> None:
        """A whole reply has come."""
        now = time.monotonic()
        if status in _BUSY:
            # The same bytes again: their ids make that harmless.
            self._refused += 1
            self._loop.call_later(_BUSY_SECONDS, connection.repeat)
            return
        self._under_way -= 1
        if status not in _ACCEPTED:
            self.fail(f"a request was answered with {status.decode()}")
            return
        batch = self._spec.shape.batch
        self._last_reply_at = now
        self._times[connection.number] += 1
        self._accepted += batch
        self._replies.append(now - connection.sent_at)
        self._counted.accepted(position, batch, now)
        self.next(connection)

    def fail(self, reason: str) -> None:
        """End everything: a benchmark with failures has no figures."""
        self._failure = self._failure or reason

    def _must_wait(self) -> bool:
        if self._accepted - self._counted.events > self._spec.backlog_events_max:
            return True
        rate = self._spec.events_per_second
        if rate is None:
            return False
        return self._sent + self._spec.shape.batch > rate * (time.monotonic() - self._started_at)

    async def _watch(self, seconds: float) -> _Mark:
        """Look at the positions until so long after the start; answers where it is then."""
        pace = POLL_SECONDS if self._spec.events_per_second is None else PACE_SECONDS
        looked_at = 0.0
        while time.monotonic() < self._started_at + seconds and not self._is_stopped:
            if time.monotonic() - looked_at >= POLL_SECONDS:
                looked_at = time.monotonic()
                await self._look()
            self._resume()
            await self._pause(pace)
        return _Mark(time.monotonic(), self._accepted, self._counted.events)

    async def _look(self) -> None:
        await self._counted.look()
        backlog = self._accepted - self._counted.events
        self._backlog_max = max(self._backlog_max, backlog)
        self._looks += 1
        self._held_looks += backlog > self._spec.backlog_events_max

    def _resume(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            self.next(connection)

    async def _until_answered(self) -> None:
        deadline = time.monotonic() + SILENCE_SECONDS_MAX
        while self._under_way:
            if time.monotonic() > deadline:
                self.fail(f"{self._under_way} requests were not answered")
            await self._look()
            await self._pause(POLL_SECONDS)

    async def _until_counted(self) -> None:
        deadline = time.monotonic() + COUNTED_SECONDS_MAX
        while self._counted.events < self._accepted:
            if time.monotonic() > deadline:
                self.fail(f"{self._accepted - self._counted.events} events were not counted")
            await self._look()
            await self._pause(POLL_SECONDS)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self._failure:
            raise LoadError(self._failure)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    transport: asyncio.Transport

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._data = self._got = b""
        self.number = 0
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, number: int, data: bytes, now: float) -> None:
        self.number, self._data, self.sent_at = number, data, now
        self.transport.write(data)

    def repeat(self) -> None:
        self.transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        if self._got:
            data = self._got + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + int(_header(data, b"Content-Length: ")):
            self._got = data
            return
        self._got = b""
        status = data[9:12]
        if status[:1] not in b"25" and status != b"429":
            sys.stderr.write(data.decode(errors="replace") + "\n")
        self._sender.answered(self, status, _header(data, b"Usance-Position: "))

    def connection_lost(self, exc: Exception | None) -> None:
        self._sender.fail(f"the server closed a connection: {exc}")


def _header(data: bytes, name: bytes) -> bytes:
    start = data.find(name)
    return data[start + len(name) : data.index(b"\r\n", start)] if start >= 0 else b"0"


def _head(spec: Spec, length: int) -> bytes:
    target = spec.target
    return (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nAuthorization: {target.authorization}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode("ascii")


def _quantiles(seconds: Sequence[float]) -> Quantiles:
    if not seconds:
        return Quantiles(0.0, 0.0, 0.0)
    found = sorted(seconds)
    return Quantiles(found[len(found) // 2], found[int(len(found) * 0.99)], found[-1])


if __name__ == "__main__":
    main()
