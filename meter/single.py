"""The short way in for the commonest request: one event as JSON, from a sender who is known.

    Singles(append, ...).take(message, body, answer) -> bool

It takes a request only if all is well with it, and leaves everything else to ingest.py, which says what is wrong: so
there is one way to refuse, and this one has nothing to explain. What it answers is what ingest.py would answer.

All events that come while an append is under way share the next one, as one block for each account: for the stream and
for the aggregator they are a batch.
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

from meter import entry, event, ingest, timestamp
from meter.error import StreamError, StreamUnavailable
from meter.event import Event
from meter.ingest import Clock
from runtime import connection, telemetry
from runtime.connection import Answer
from store.account import Principal

log = structlog.get_logger(__name__)

PATH = "/usage-events"
# An append may hold so many: it stays below the largest entry, whatever is in them.
TOGETHER_MAX = 700
# And so many may wait for theirs; more are left to ingest.py, which has a bound in bytes.
WAITING_MAX = 4_000
STATUS = 201

Append: TypeAlias = Callable[[bytes], Awaitable[str]]
# Who may send usage with this Authorization header, as far as that is known without asking.
Sender: TypeAlias = Callable[[str], Principal | None]
Refuse: TypeAlias = Callable[[StreamError], web.Response]
# Measures and logs: status, seconds.
Keep: TypeAlias = Callable[[int, float], None]


class _Taken(msgspec.Struct, frozen=True, gc=False):
    event: Event
    received_at: int
    principal: Principal
    answer: Answer
    started: float


class Singles:
    """Single events on their way into the stream."""

    def __init__(self, append: Append, *, path: str, clock: Clock, sender: Sender, refuse: Refuse, keep: Keep) -> None:
        self._append = append
        self._path = path
        self._clock = clock
        self._sender = sender
        self._refuse = refuse
        self._keep = keep
        self._waiting: list[_Taken] = []
        self._flusher: asyncio.Task[None] | None = None

    def take(self, message: RawRequestMessage, body: bytes, answer: Answer) -> bool:
        """Whether this request is answered here, when its event is on disk."""
        headers = message.headers
        if (
            message.path != self._path
            or message.method != hdrs.METH_POST
            or headers.get(hdrs.CONTENT_TYPE) != "application/json"
            or body[:1] != b"{"
            # What makes a request another one than it seems.
            or hdrs.CONTENT_ENCODING in headers
            or hdrs.EXPECT in headers
            or ingest.BACKFILL_HEADER in headers
            or len(self._waiting) >= WAITING_MAX
        ):
            return False
        started = time.perf_counter()
        principal = self._sender(headers.get(hdrs.AUTHORIZATION, ""))
        if principal is None:
            return False
        received_at = timestamp.microseconds(self._clock())
        try:
            one = event.decode(body, received_at=received_at, new_id=uuid7)
        except Exception:  # noqa: BLE001 - the long way runs into the same, and says so
            return False
        self._waiting.append(_Taken(one, received_at, principal, answer, started))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="flush singles")
        return True

    async def _flush(self) -> None:
        # One turn of the loop lets the requests that were read together share the first append too.
        await asyncio.sleep(0)
        while self._waiting:
            taken, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
            by_account: defaultdict[int, list[_Taken]] = defaultdict(list)
            for one in taken:
                by_account[one.principal.account].append(one)
            await asyncio.gather(*(self._settle(account, of) for account, of in by_account.items()))

    async def _settle(self, account: int, taken: Sequence[_Taken]) -> None:
        try:
            # Received when the last of them was: no event lies further ahead of that.
            received_at = max(one.received_at for one in taken)
            block = entry.block([one.event for one in taken], account=account, received_at=received_at)
            position = await self._append(entry.encode_block(block))
        except StreamError as exc:
            self._refuse_all(taken, exc)
        except Exception:
            # Whatever it is: those who wait get an answer, and the next ones their turn.
            log.exception("append failed", action="append")
            self._refuse_all(taken, StreamUnavailable())
        else:
            self._accept_all(taken, position)

    def _accept_all(self, taken: Sequence[_Taken], position: str) -> None:
        telemetry.EVENTS_ACCEPTED.inc(len(taken))
        head = connection.head(STATUS, {ingest.POSITION_HEADER: position, "Content-Type": "application/json"})
        now = time.perf_counter()
        for one in taken:
            body = ingest.shown(one.event, one.principal)
            one.answer(connection.reply(head, body))
            self._keep(STATUS, now - one.started)

    def _refuse_all(self, taken: Sequence[_Taken], exc: StreamError) -> None:
        telemetry.EVENTS_REFUSED.labels(exc.code).inc(len(taken))
        response = self._refuse(exc)
        whole = connection.reply(connection.head(response.status, response.headers), cast("bytes", response.body))
        now = time.perf_counter()
        for one in taken:
            one.answer(whole)
            self._keep(response.status, now - one.started)
