"""The way in: from an HTTP body to the stream. No Postgres on this path.

    POST /usage-events          one event   ->  201 with the event as stored
                                a batch     ->  202 {accepted, duplicates, position, rejected: [{index, customerEventId,
                                                code, message}]}; all bad: 400
    POST /usage-events/csv      a file      ->  202, see upload.py
    POST /v1/events             CloudEvents ->  204 without a body; 400 if any is bad, the others are kept
    DELETE /usage-events/{id}               ->  202 {id, position}: a cancellation, which travels like an event

The reply waits for the stream's fsync. Every success says in `Usance-Position` where its events stand:
"<stream number>/<entry id>". Events that name a backfill (`Usance-Backfill`) go another way (load.py) and stand in no
stream.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from meter import columns, dialect, entry, event, identity, inflate, load, stream, timestamp, upload
from meter.csv_file import Source
from meter.dialect import Letter
from meter.entry import Block
from meter.error import BodyTooLarge, EventRefused, InvalidValue, MeterError, NothingAccepted, SomeRefused
from meter.event import Event, Wire
from meter.load import Load, Loads
from meter.stream import Limit, Stream
from runtime import telemetry
from runtime.settings import Settings
from runtime.turn import Turns
from store.account import Principal

Clock: TypeAlias = Callable[[], datetime]
Caller: TypeAlias = Callable[[web.Request], Principal]

BODY_BYTES_MAX = 8 * 1024 * 1024
# What a turn of the loop has room for, as bytes of bodies: half a millisecond of work or so. Whoever asks for usage
# meanwhile waits for that much at most, however many bodies come at once.
TURN_BYTES = 32 * 1024
# A body is read in pieces that fill a turn; one of good events, which is read at once, in larger ones.
TURN_EVENTS = 200
TURN_GOOD_EVENTS = 1_000
POSITION_HEADER = "Usance-Position"
BACKFILL_HEADER = "Usance-Backfill"


def routes(writer: "Writer", *, clock: Clock, caller: Caller, loads: Loads) -> list[web.RouteDef]:
    """The routes of ingest, below /api; `caller` says who asks."""
    ingest = _Ingest(writer, clock, caller=caller, loads=loads)
    return [
        web.post("/usage-events", ingest.post),
        web.post("/usage-events/csv", ingest.post_csv),
        web.delete("/usage-events/{id}", ingest.cancel),
        web.post("/v1/events", ingest.post_cloud),
    ]


class Writer:
    """What this process writes to. Workers spread over the streams; each writes to one, so its order is kept."""

    def __init__(self, redis: Redis, *, settings: Settings) -> None:
        self._number = settings.http_worker % settings.streams
        self._stream = Stream(
            redis,
            name=stream.name(self._number),
            limit=Limit(entries_max=settings.stream_entries_max, bytes_max=settings.stream_bytes_max),
            waits_for_aof=settings.redis_wait_aof == "yes",
        )

    async def append(self, block: bytes) -> str:
        """Append a block; answers its position once that is on disk."""
        return f"{self._number}/{await self._stream.append(block)}"


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
    def __init__(self, writer: Writer, clock: Clock, *, caller: Caller, loads: Loads) -> None:
        self._writer = writer
        self._clock = clock
        self._caller = caller
        self._loads = loads
        self._turns = Turns(room=TURN_BYTES)

    async def post(self, request: web.Request) -> web.Response:
        """Every dialect, with the event or the verdict on each as answer."""
        with _REFUSALS_COUNTED:
            letter = await _open(request, self._turns)
            received_at, principal = timestamp.microseconds(self._clock()), self._caller(request)
            into = await self._load(request, principal)
            letter = load.narrowed(letter, into)
            if not letter.is_batch:
                one = letter.language.decode(letter.parts[0], received_at=received_at, new_id=uuid7)
                position = await self._append([one], received_at, principal, into)
                return _reply(shown(one, principal), status=201, position=position)
            block = await _block(letter.wires, self._turns, account=principal.account, received_at=received_at)
            if block is not None:
                position = await self._send(block)
                body = counted(len(block), entry.duplicates_of(block), position, [])
                return _reply(body, status=202, position=position)
            events, problems, rejected = await _read(letter, self._turns, received_at=received_at)
            if not events:
                raise NothingAccepted(problems)
            position = await self._append(events, received_at, principal, into)
            duplicates = entry.duplicates([one.key for one in events], [one.digest for one in events])
            body = counted(len(events), duplicates, position, rejected)
            return _reply(body, status=202, position=position)

    async def post_cloud(self, request: web.Request) -> web.Response:
        """CloudEvents for clients that know 204, and problems."""
        with _REFUSALS_COUNTED:
            letter = await _open(request, self._turns, is_cloud=True)
            received_at, principal = timestamp.microseconds(self._clock()), self._caller(request)
            into = await self._load(request, principal)
            letter = load.narrowed(letter, into)
            events, problems, _ = await _read(letter, self._turns, received_at=received_at)
            if not events:
                raise NothingAccepted(problems) if letter.is_batch else problems[0]
            position = await self._append(events, received_at, principal, into)
            if problems:
                raise SomeRefused(problems, headers=_position(position))
            return web.Response(status=204, headers=_position(position))

    async def post_csv(self, request: web.Request) -> web.Response:
        """A file."""
        with _REFUSALS_COUNTED:
            received_at, principal = timestamp.microseconds(self._clock()), self._caller(request)
            zone, into = ZoneInfo(principal.time_zone), await self._load(request, principal)
            check = None if into is None else partial(load.check, into)
            found = await upload.take(
                request,
                open_=lambda file, name: Source(file, name, zone, received_at, check),
                append=lambda events: self._append(events, received_at, principal, into),
            )
            return _reply(_ENCODER.encode(found), status=202, position=found.position)

    async def cancel(self, request: web.Request) -> web.Response:
        """Take an event back, also one that is still under way."""
        with _REFUSALS_COUNTED:
            if BACKFILL_HEADER in request.headers:
                raise InvalidValue(
                    "A backfill takes events and no cancellations. Leave the header out to cancel what is live; revert"
                    " the backfill, or send the event into it with other content, to change what it loads.",
                    key=BACKFILL_HEADER,
                )
            received_at, principal = timestamp.microseconds(self._clock()), self._caller(request)
            one = event.cancellation(request.match_info["id"], received_at=received_at)
            position = await self._append([one], received_at, principal)
            body = _ENCODER.encode({"id": identity.public_id(one.key), "position": position})
            return _reply(body, status=202, position=position)

    async def _load(self, request: web.Request, principal: Principal) -> Load | None:
        """The backfill that these events are for, if the request names one."""
        name = request.headers.get(BACKFILL_HEADER)
        return None if name is None else await self._loads.open(principal.account, name)

    async def _append(
        self, events: Sequence[Event], received_at: int, principal: Principal, into: Load | None = None
    ) -> str:
        """Let events in; answers where they stand, which is nowhere for a backfill's."""
        if into is not None:
            await self._loads.keep(into, events, received_at=timestamp.instant(received_at))
            telemetry.EVENTS_ACCEPTED.inc(len(events))
            return ""
        return await self._send(entry.block(events, account=principal.account, received_at=received_at))

    async def _send(self, block: Block) -> str:
        position = await self._writer.append(entry.encode_block(block))
        telemetry.EVENTS_ACCEPTED.inc(len(block))
        return position


async def _open(request: web.Request, turns: Turns, *, is_cloud: bool = False) -> Letter:
    dialect.check(request.content_type, is_cloud=is_cloud)
    encoding = inflate.encoding(request.headers.get("Content-Encoding"))
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise BodyTooLarge
    packed = await request.read()
    await turns.take(len(packed))
    body = inflate.inflate(packed, encoding, limit=BODY_BYTES_MAX)
    if len(body) > BODY_BYTES_MAX:
        raise BodyTooLarge
    return dialect.open_(body, request.content_type, is_cloud=is_cloud)


async def _read(
    letter: Letter, turns: Turns, *, received_at: int
) -> tuple[list[Event], list[EventRefused], list[Rejection]]:
    """The good events, and what is wrong with the others."""
    events: list[Event] = []
    problems: list[EventRefused] = []
    rejected: list[Rejection] = []
    decode = letter.language.decode
    for index, raw in enumerate(letter.one_by_one):
        if index and not index % TURN_EVENTS:
            await turns.take(TURN_BYTES)
        try:
            events.append(decode(raw, received_at=received_at, new_id=uuid7))
        except EventRefused as exc:
            rejected.append(Rejection(index, letter.language.sender_id(raw), exc.code, str(exc)))
            if letter.is_batch:
                exc.key = f"[{index}].{exc.key}" if exc.key else f"[{index}]"
            problems.append(exc)
    if events:
        for one in problems:
            telemetry.EVENTS_REFUSED.labels(one.code).inc()
    return events, problems, rejected


async def _block(wires: Sequence[Wire], turns: Turns, *, account: int, received_at: int) -> Block | None:
    """All events at once, if all are good: a piece in a turn."""
    blocks: list[Block] = []
    for start in range(0, len(wires), TURN_GOOD_EVENTS):
        if start:
            await turns.take(TURN_BYTES)
        piece = wires[start : start + TURN_GOOD_EVENTS]
        block = columns.block(piece, account=account, received_at=received_at, new_id=uuid7)
        if block is None:
            return None
        blocks.append(block)
    return entry.merged(blocks) if blocks else None


def counted(accepted: int, duplicates: int, position: str, rejected: Sequence[Rejection]) -> bytes:
    """What became of a batch."""
    return _ENCODER.encode(
        {"accepted": accepted, "duplicates": duplicates, "position": position or None, "rejected": rejected}
    )


class _RefusalsCounted:
    """Counts what leaves its block as a refusal. A class, because a generator costs a request several times as much."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _type: object, exc: BaseException | None, _traceback: object) -> None:
        # What a batch refuses beside what it keeps is counted event by event.
        if isinstance(exc, MeterError) and not isinstance(exc, SomeRefused):
            telemetry.EVENTS_REFUSED.labels(exc.code).inc()


_REFUSALS_COUNTED = _RefusalsCounted()


def shown(one: Event, principal: Principal) -> bytes:
    """An event as the reference shows it."""
    shown_ = _Shown(
        id=identity.public_id(one.key),
        customer_event_id=one.customer_event_id,
        customer_alias=one.customer_alias,
        event_type=one.event_type,
        sequence_account_id=principal.account_id,
        event_timestamp=timestamp.instant(one.timestamp),
        event_properties=msgspec.Raw(one.properties),
    )
    return _ENCODER.encode(shown_)


def _reply(body: bytes, *, status: int, position: str) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=_position(position))


def _position(position: str) -> dict[str, str]:
    return {POSITION_HEADER: position} if position else {}


_ENCODER = msgspec.json.Encoder()
