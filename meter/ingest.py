"""POST /usage-events: from an HTTP body to the stream. No Postgres on this path.

    one object  ->  201 with the event as stored
    an array    ->  202 {accepted, position, rejected: [{index, customerEventId, code, message}]}; all bad: 400

The reply waits for the stream's fsync. Every success says in `Usance-Position` where its events stand:
"<stream number>/<entry id>".
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from aiohttp import web
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from meter import entry, event, identity, stream
from meter.error import (
    BatchTooLarge,
    BodyTooLarge,
    EmptyBatch,
    EventRefused,
    MalformedJson,
    MeterError,
    NothingAccepted,
    UnsupportedMedia,
)
from meter.event import Event
from meter.stream import Limit, Stream
from runtime import telemetry
from runtime.settings import Settings
from store.account import Principal

Clock: TypeAlias = Callable[[], datetime]
Caller: TypeAlias = Callable[[web.Request], Principal]

BODY_BYTES_MAX = 8 * 1024 * 1024
EVENTS_MAX = 10_000
POSITION_HEADER = "Usance-Position"


def routes(redis: Redis, *, settings: Settings, clock: Clock, caller: Caller, worker: int = 0) -> list[web.RouteDef]:
    """The routes of ingest, below /api; `caller` says who asks.

    Workers spread over the streams; each writes to one, so its order is kept.
    """
    number = worker % settings.streams
    limit = Limit(entries_max=settings.stream_entries_max, bytes_max=settings.stream_bytes_max)
    ingest = _Ingest(Stream(redis, name=stream.names(settings.streams)[number], limit=limit), number, clock, caller)
    return [web.post("/usage-events", ingest.post)]


class Rejection(msgspec.Struct, frozen=True, rename="camel"):
    """One event of a batch that was refused."""

    index: int
    customer_event_id: str | None
    code: str
    message: str


class _Shown(msgspec.Struct, frozen=True, rename="camel"):
    """An event as the reference shows it."""

    id: UUID
    customer_event_id: str
    customer_alias: str
    event_type: str
    sequence_account_id: UUID
    event_timestamp: datetime
    event_properties: msgspec.Raw


class _Ingest:
    def __init__(self, stream_: Stream, number: int, clock: Clock, caller: Caller) -> None:
        self._stream = stream_
        self._number = number
        self._clock = clock
        self._caller = caller

    async def post(self, request: web.Request) -> web.Response:
        try:
            body = await _read(request)
            received_at = event.microseconds(self._clock())
            principal = self._caller(request)
            if body.lstrip(b" \t\r\n").startswith(b"["):
                return await self._take_batch(body, received_at, principal)
            return await self._take_one(body, received_at, principal)
        except MeterError as exc:
            telemetry.EVENTS_REFUSED.labels(exc.code).inc()
            raise

    async def _take_one(self, body: bytes, received_at: int, principal: Principal) -> web.Response:
        one = event.decode(body, received_at=received_at, new_id=uuid7)
        position = await self._append([one], received_at, principal)
        return _reply(_shown(one, principal), status=201, position=position)

    async def _take_batch(self, body: bytes, received_at: int, principal: Principal) -> web.Response:
        events: list[Event] = []
        rejected: list[Rejection] = []
        problems: list[EventRefused] = []
        for index, raw in enumerate(_split(body)):
            try:
                events.append(event.decode(raw, received_at=received_at, new_id=uuid7))
            except EventRefused as exc:
                rejected.append(Rejection(index, event.sender_id(raw), exc.code, str(exc)))
                exc.key = f"[{index}].{exc.key}" if exc.key else f"[{index}]"
                problems.append(exc)
        if not events:
            raise NothingAccepted(problems)
        for one in problems:
            telemetry.EVENTS_REFUSED.labels(one.code).inc()
        position = await self._append(events, received_at, principal)
        body_ = {"accepted": len(events), "position": position, "rejected": rejected}
        return _reply(body_, status=202, position=position)

    async def _append(self, events: list[Event], received_at: int, principal: Principal) -> str:
        block = entry.block(events, account=principal.account, received_at=received_at)
        entry_id = await self._stream.append(entry.encode_block(block))
        telemetry.EVENTS_ACCEPTED.inc(len(events))
        return f"{self._number}/{entry_id}"


async def _read(request: web.Request) -> bytes:
    if request.content_type != "application/json":
        raise UnsupportedMedia
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise BodyTooLarge
    body = await request.read()
    if len(body) > BODY_BYTES_MAX:
        raise BodyTooLarge
    return body


def _split(body: bytes) -> list[msgspec.Raw]:
    try:
        found = _ARRAY.decode(body)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise MalformedJson(f"The body is not JSON: {exc}. Send one JSON object, or an array of them.") from exc
    if not found:
        raise EmptyBatch
    if len(found) > EVENTS_MAX:
        raise BatchTooLarge
    return found


def _shown(one: Event, principal: Principal) -> _Shown:
    return _Shown(
        id=identity.public_id(one.key),
        customer_event_id=one.customer_event_id,
        customer_alias=one.customer_alias,
        event_type=one.event_type,
        sequence_account_id=principal.account_id,
        event_timestamp=event.instant(one.timestamp).astimezone(UTC),
        event_properties=msgspec.Raw(one.properties),
    )


def _reply(body: Any, *, status: int, position: str) -> web.Response:
    headers = {POSITION_HEADER: position}
    return web.Response(body=_ENCODER.encode(body), status=status, content_type="application/json", headers=headers)


_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
