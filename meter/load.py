"""Events of a backfill: past the streams, straight to Postgres, where nobody sees them until it is closed.

    Loads(pool).open(...)    the backfill that a request names, if it takes events
    check(load, event)       whether an event belongs to it: its customer, its range, a timestamp of its own
    Loads(pool).keep(...)    one transaction, all or nothing; the reply waits for its commit

A load is no race against the clock, so it does without the streams. What it gains: a backfill that is closed
meanwhile, or is full, is known before the reply, and closing has to wait for nobody's stream.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from meter import identity, timestamp
from meter.dialect import Language, Letter
from meter.error import MissingField, OutsideBackfill
from meter.event import Event
from store import backfill, backfill_event
from store.backfill_event import Loaded
from store.db import Pool
from store.error import NotFound

CONNECTION_SECONDS_MAX = 5.0

Range = tuple[int, int]


class Load(msgspec.Struct, frozen=True):
    """A backfill that takes events, and what it takes: ranges of microseconds by alias."""

    account: int
    id: UUID
    ranges: dict[str, list[Range]]


class Loads:
    """The way into backfills."""

    def __init__(self, pool: Pool, *, events_max: int) -> None:
        self._pool = pool
        self._events_max = events_max

    async def open(self, account: int, name: str) -> Load:
        """The backfill of this id."""
        try:
            id_ = UUID(name)
        except ValueError as exc:
            raise NotFound(f"`{name[:64]}` is not an id (a UUID), so there is no usage backfill with it.") from exc
        async with self._pool.acquire(timeout=CONNECTION_SECONDS_MAX) as conn:
            found = backfill.check_open(await backfill.get(conn, account, backfill=id_))
        ranges: defaultdict[str, list[Range]] = defaultdict(list)
        for one in found.segments:
            ranges[one.alias].append((timestamp.microseconds(one.start), timestamp.microseconds(one.end)))
        return Load(account, found.id, ranges)

    async def keep(self, load: Load, events: Sequence[Event], *, received_at: datetime) -> None:
        """Keep checked events."""
        loaded = [_loaded(one) for one in events]
        async with self._pool.acquire(timeout=CONNECTION_SECONDS_MAX) as conn, conn.transaction():
            await backfill_event.load(conn, load.account, into=load.id, events=loaded, received_at=received_at)
            await backfill.add_loaded(
                conn,
                load.account,
                backfill=load.id,
                events=len(loaded),
                events_max=self._events_max,
                now=received_at,
            )


def narrowed(letter: Letter, load: Load | None) -> Letter:
    """The letter, read so that what does not belong to the backfill is refused like what cannot be read."""
    if load is None:
        return letter
    read = letter.language.decode

    def decode(raw: bytes | msgspec.Raw, **context: Any) -> Event:
        return check(load, read(raw, **context))

    return msgspec.structs.replace(letter, language=Language(decode, letter.language.sender_id))


def check(load: Load, one: Event) -> Event:
    """The event, if it belongs to the backfill."""
    if not one.has_own_timestamp:
        raise MissingField("`eventTimestamp` is required in a backfill. Send it.", key="eventTimestamp")
    ranges = load.ranges.get(one.customer_alias, ())
    if not ranges:
        raise OutsideBackfill("`customerAlias` is none of the backfill's aliases.", key="customerAlias")
    if not any(start <= one.timestamp < end for start, end in ranges):
        message = "`eventTimestamp` lies outside of the backfill's range, or the alias was another customer's then."
        raise OutsideBackfill(message, key="eventTimestamp")
    return one


def _loaded(one: Event) -> Loaded:
    return Loaded(
        key=identity.public_id(one.key),
        digest=one.digest,
        customer_event_id=None if identity.is_id(one.key) else one.customer_event_id,
        alias=one.customer_alias,
        event_type=one.event_type,
        event_timestamp=timestamp.instant(one.timestamp),
        properties=one.properties.decode(),
    )
