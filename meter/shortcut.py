"""The short way in for the commonest requests: one event, or an array of them, as JSON from a sender who is known.

    Shortcut(append, ...).take(message, body, answer) -> bool

It takes a request only if all is well with it, and leaves everything else to ingest.py, which says what is wrong: so
there is one way to refuse, and this one has nothing to explain. What it answers is what ingest.py would answer.

All single events that come while an append is under way share the next one, as one block for each account: for the
stream and for the aggregator they are a batch.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, cast

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from uuid_utils.compat import uuid7

from meter import columns, entry, event, ingest, shape, timestamp
from meter.entry import Block
from meter.error import StreamError, StreamUnavailable
from meter.event import Event
from meter.ingest import Clock
from runtime import connection, telemetry
from runtime.connection import Answer
from runtime.turn import Turns
from store.account import Principal

log = structlog.get_logger(__name__)

PATH = "/usage-events"
# An append of single events may hold so many: it stays below the largest entry, whatever is in them.
TOGETHER_MAX = 700
# And so many may wait for theirs; more are left to ingest.py, which has a bound in bytes.
WAITING_MAX = 4_000
# Arrays that come at once have as much of a turn as one that ingest.py reads at once.
_ROOM_BYTES = 4 * ingest.TURN_BYTES

Append: TypeAlias = Callable[[bytes], Awaitable[str]]
# Who may send usage with this Authorization header, as far as that is known without asking.
Sender: TypeAlias = Callable[[str], Principal | None]
Refuse: TypeAlias = Callable[[StreamError], web.Response]
# Measures and logs: status, seconds.
Keep: TypeAlias = Callable[[int, float], None]


class _Asked(msgspec.Struct, frozen=True, gc=False):
    """A request that was taken."""

    principal: Principal
    received_at: int
    answer: Answer
    started: float


class _Single(msgspec.Struct, frozen=True, gc=False):
    asked: _Asked
    event: Event


class Shortcut:
    """Good events on their way into the stream."""

    def __init__(self, append: Append, *, path: str, clock: Clock, sender: Sender, refuse: Refuse, keep: Keep) -> None:
        self._append = append
        self._path = path
        self._clock = clock
        self._sender = sender
        self._refuse = refuse
        self._keep = keep
        self._turns = Turns(room=_ROOM_BYTES)
        self._waiting: list[_Single] = []
        self._flusher: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def take(self, message: RawRequestMessage, body: bytes, answer: Answer) -> bool:
        """Whether this request is answered here, when its events are on disk."""
        headers = message.headers
        if (
            message.path != self._path
            or message.method != hdrs.METH_POST
            or headers.get(hdrs.CONTENT_TYPE) != "application/json"
            # What makes a request another one than it seems.
            or hdrs.CONTENT_ENCODING in headers
            or hdrs.EXPECT in headers
            or ingest.BACKFILL_HEADER in headers
        ):
            return False
        started = time.perf_counter()
        principal = self._sender(headers.get(hdrs.AUTHORIZATION, ""))
        if principal is None:
            return False
        asked = _Asked(principal, timestamp.microseconds(self._clock()), answer, started)
        match body[:1]:
            case b"{":
                return self._take_single(body, asked)
            case b"[":
                return self._take_array(body, asked)
            case _:
                return False

    def _take_single(self, body: bytes, asked: _Asked) -> bool:
        if len(self._waiting) >= WAITING_MAX:
            return False
        try:
            one = event.decode(body, received_at=asked.received_at, new_id=uuid7)
        except Exception:  # noqa: BLE001 - the long way runs into the same, and says so
            return False
        self._waiting.append(_Single(asked, one))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="flush singles")
        return True

    def _take_array(self, body: bytes, asked: _Asked) -> bool:
        if not self._turns.enter(len(body)):
            return False
        try:
            block = _block(body, asked)
        except Exception:  # noqa: BLE001 - as above
            return False
        if block is None:
            return False
        sending = asyncio.create_task(self._settle_array(block, asked), name="send array")
        # The loop alone would forget it.
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return True

    async def _flush(self) -> None:
        # One turn of the loop lets the requests that were read together share the first append too.
        await asyncio.sleep(0)
        while self._waiting:
            taken, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
            by_account: defaultdict[int, list[_Single]] = defaultdict(list)
            for one in taken:
                by_account[one.asked.principal.account].append(one)
            await asyncio.gather(*(self._settle_singles(account, of) for account, of in by_account.items()))

    async def _settle_singles(self, account: int, taken: Sequence[_Single]) -> None:
        # Received when the last of them was: no event lies further ahead of that.
        received_at = max(one.asked.received_at for one in taken)
        block = entry.block([one.event for one in taken], account=account, received_at=received_at)
        position = await self._send(block, [one.asked for one in taken])
        if position is None:
            return
        head = _head(201, position)
        for one in taken:
            self._answer(one.asked, 201, connection.reply(head, ingest.shown(one.event, one.asked.principal)))

    async def _settle_array(self, block: Block, asked: _Asked) -> None:
        position = await self._send(block, [asked])
        if position is None:
            return
        duplicates = entry.duplicates_of(block)
        body = ingest.counted(len(block), duplicates, position, [])
        self._answer(asked, 202, connection.reply(_head(202, position), body))

    async def _send(self, block: Block, asking: Sequence[_Asked]) -> str | None:
        """Append a block; answers its position, None if who asked for it was refused."""
        try:
            position = await self._append(entry.encode_block(block))
        except StreamError as exc:
            self._refuse_all(asking, exc)
            return None
        except Exception:
            # Whatever it is: those who wait get an answer, and the next ones their turn.
            log.exception("append failed", action="append")
            self._refuse_all(asking, StreamUnavailable())
            return None
        telemetry.EVENTS_ACCEPTED.inc(len(block))
        return position

    def _refuse_all(self, asking: Sequence[_Asked], exc: StreamError) -> None:
        telemetry.EVENTS_REFUSED.labels(exc.code).inc(len(asking))
        response = self._refuse(exc)
        whole = connection.reply(connection.head(response.status, response.headers), cast("bytes", response.body))
        for one in asking:
            self._answer(one, response.status, whole)

    def _answer(self, asked: _Asked, status: int, whole: bytes) -> None:
        try:
            asked.answer(whole)
            self._keep(status, time.perf_counter() - asked.started)
        except Exception:
            # Others wait for theirs.
            log.exception("answer failed", action="answer")


def _block(body: bytes, asked: _Asked) -> Block | None:
    """An array as a block, if all of it is good and it is not too much for one turn."""
    wires = shape.decode_all(body)
    if not wires or len(wires) > ingest.TURN_GOOD_EVENTS:
        return None
    return columns.block(wires, account=asked.principal.account, received_at=asked.received_at, new_id=uuid7)


def _head(status: int, position: str) -> bytes:
    return connection.head(status, {ingest.POSITION_HEADER: position, "Content-Type": "application/json"})
