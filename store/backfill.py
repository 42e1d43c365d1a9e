"""Backfills: what they are for, how far they are, and what came of them. Their events: store/backfill_event.py.

    OPEN -> CLOSING -> CLOSED -> REVERTING -> REVERTED        an open one can be reverted too
            `-> OPEN             `-> CLOSED                   given up, with the problem; nothing had happened

Requests ask for a change of state; a loop does the work and takes the second step (meter/backfill.py).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg
import msgspec

from store import counting, event, stream_position
from store.db import Connection
from store.error import BackfillClosing, BackfillNotOpen, BackfillTooLarge, NotFound
from store.page import Listing, Page, both_ways
from store.usage import Segment

# Beyond any sequence that a stream gives within one millisecond; room for the pieces of one close.
SEQUENCE_BASE = 1 << 40
PIECES_MAX = 1 << 12


class State(StrEnum):
    """Where a backfill is on its way."""

    OPEN = "OPEN"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    REVERTING = "REVERTING"
    REVERTED = "REVERTED"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What closing came to. `corrections` and `replaced` were live before and are not any more."""

    counted: int = 0
    duplicates: int = 0
    corrections: int = 0
    replaced: int = 0


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """One load of events."""

    id: UUID
    name: str | None
    customer: UUID | None
    segments: tuple[Segment, ...]
    range_start: datetime
    range_end: datetime
    replaces: bool
    created_at: datetime
    updated_at: datetime
    state: State = State.OPEN
    entry_ms: int | None = None
    entry_sequence: int | None = None
    ends: Mapping[str, str] = {}
    numbers: tuple[tuple[int, int], ...] = ()
    loaded: int = 0
    handled: int = 0
    counts: Counts = Counts()
    problem: str | None = None
    closed_at: datetime | None = None
    reverted_at: datetime | None = None

    @property
    def order(self) -> tuple[int, int]:
        """Its place in the order of receipt, once it is closing."""
        if self.entry_ms is None or self.entry_sequence is None:
            raise AssertionError(f"backfill {self.id} has no place yet")
        return self.entry_ms, self.entry_sequence


_COLUMNS = """
id, name, customer, segments, range_start, range_end, replaces, created_at, updated_at, state, entry_ms, entry_sequence,
ends, numbers_from, numbers_to, loaded, handled, counted, duplicates, corrections, replaced, problem, closed_at,
reverted_at
"""

_INSERT = """
insert into usage_backfill (account, id, name, customer, segments, range_start, range_end, replaces, state, created_at,
    updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, 'OPEN', $9, $9)
"""


async def create(conn: Connection, account: int, *, backfill: Backfill) -> None:
    """Keep a new one, open."""
    await conn.execute(
        _INSERT,
        *(account, backfill.id, backfill.name, backfill.customer),
        *(msgspec.json.encode(backfill.segments).decode(), backfill.range_start, backfill.range_end),
        *(backfill.replaces, backfill.created_at),
    )


# One, by the primary key.
# ruff: noqa: S608 - built from constants
_GET = f"select {_COLUMNS} from usage_backfill where account = $1 and id = $2"
# The same, held until the end of the transaction.
_GET_FOR_UPDATE = f"{_GET} for update"


async def get(conn: Connection, account: int, *, backfill: UUID, for_update: bool = False) -> Backfill:
    """One backfill."""
    row = await conn.fetchrow(_GET_FOR_UPDATE if for_update else _GET, account, backfill)
    if row is None:
        raise NotFound(f"There is no usage backfill {backfill}.")
    return _backfill(row)


# Newest or oldest first, by the primary key; the state is looked at row by row.
_LIST = both_ways(f"""
select {_COLUMNS} from usage_backfill
where account = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or id < $3)
    and ($5::text[] is null or state = any($5))
order by id <direction> limit $4
""")

# How many the same filter leaves.
_COUNT = "select count(*) from usage_backfill where account = $1 and ($2::text[] is null or state = any($2))"


async def listing(conn: Connection, account: int, *, states: Sequence[State] | None, page: Page) -> Listing[Backfill]:
    """One page of backfills."""
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, page.fetch_limit, states)
    return page.cut([_backfill(row) for row in rows], total=await conn.fetchval(_COUNT, account, states))


# Says that so many events more are loaded, by the primary key. The last statement of its transaction: whoever closes
# waits for those who are loading, and nobody loads into one that is closing.
_ADD_LOADED = """
update usage_backfill set loaded = loaded + $3, updated_at = $4
where account = $1 and id = $2 and state = 'OPEN' and loaded + $3 <= $5
returning loaded
"""


async def add_loaded(
    conn: Connection, account: int, *, backfill: UUID, events: int, events_max: int, now: datetime
) -> None:
    """Count loaded events, unless the backfill is not open any more or has no room for them."""
    if await conn.fetchval(_ADD_LOADED, account, backfill, events, now, events_max) is None:
        found = check_open(await get(conn, account, backfill=backfill))
        raise BackfillTooLarge(
            f"A backfill may have {events_max} events; this one has {found.loaded}, and {events} more were sent. "
            "Close it, and load the others into another one."
        )


def check_open(found: Backfill) -> Backfill:
    """The backfill, if it takes events."""
    if found.state is not State.OPEN:
        raise BackfillNotOpen(f"Backfill {found.id} is {found.state}. {BackfillNotOpen.__doc__}")
    return found


# Gives a closing backfill its place, behind everything that was received before.
_CLOSE = f"""
update usage_backfill set state = 'CLOSING', entry_ms = $3, ends = $4, problem = null, handled = 0, updated_at = $5,
    entry_sequence = {SEQUENCE_BASE} + {PIECES_MAX} * nextval('usage_backfill_close')
where account = $1 and id = $2
returning {_COLUMNS}
"""


async def close(conn: Connection, account: int, *, backfill: UUID, ends: Mapping[str, str], now: datetime) -> Backfill:
    """Let an open one be closed by the loop; one that is closing or closed stays as it is. Call inside a transaction.

    `ends` are the last ids of the streams: what was accepted before the close is counted before it.
    """
    found = await get(conn, account, backfill=backfill, for_update=True)
    if found.state in {State.CLOSING, State.CLOSED}:
        return found
    check_open(found)
    # Whoever counts from here on knows that something may still come that was received earlier.
    await counting.stop(conn)
    positions = [*ends.values(), *(await stream_position.read(conn)).values(), stream_position.START]
    milliseconds, _ = max(map(stream_position.order, positions))
    row = await conn.fetchrow(_CLOSE, account, backfill, milliseconds, msgspec.json.encode(ends).decode(), now)
    return _one(row)


_SET_STATE = f"""
update usage_backfill set state = $3, problem = $4, updated_at = $5, handled = 0,
    reverted_at = case when $3 = 'REVERTED' then $5 else reverted_at end,
    entry_ms = case when $3 = 'OPEN' then null else entry_ms end
where account = $1 and id = $2
returning {_COLUMNS}
"""


async def revert(conn: Connection, account: int, *, backfill: UUID, now: datetime) -> Backfill:
    """Let a closed one be taken back by the loop, an open one at once. Call inside a transaction."""
    found = await get(conn, account, backfill=backfill, for_update=True)
    match found.state:
        case State.REVERTING | State.REVERTED:
            return found
        case State.CLOSING:
            raise BackfillClosing
        case State.OPEN:
            after = State.REVERTED
        case State.CLOSED:
            after = State.REVERTING
    return _one(await conn.fetchrow(_SET_STATE, account, backfill, after, None, now))


# What waits longest, by usage_backfill_waiting; of two that were asked for at one instant, what was made first.
_WAITING = f"""
select account, {_COLUMNS} from usage_backfill where state in ('CLOSING', 'REVERTING') order by updated_at, id
"""


async def waiting(conn: Connection) -> list[tuple[int, Backfill]]:
    """Backfills that wait to be closed or reverted, with their accounts."""
    return [(row["account"], _backfill(row)) for row in await conn.fetch(_WAITING)]


# One at a time in all processes: they would only wait for each other.
_LEASE = "select pg_try_advisory_xact_lock(hashtext('usance.backfill'))"


async def lease(conn: Connection) -> bool:
    """Whether this transaction is the one that closes or reverts."""
    found: bool = await conn.fetchval(_LEASE)
    return found


# Which blocks of event numbers belong to backfills that can be reverted, by usage_backfill_numbers: every piece of a
# close has a block of its own.
_REVERTIBLE = """
select unnest(numbers_from) as block from usage_backfill
where numbers_from && $1::bigint[] and state in ('CLOSED', 'REVERTING')
"""


async def revertible(conn: Connection, numbers: Collection[int]) -> set[int]:
    """Which of these event numbers are of rows that a revert can take back."""
    if not numbers:
        return set()
    blocks = {number - number % event.NUMBERS_PER_BLOCK for number in numbers}
    found = {row["block"] for row in await conn.fetch(_REVERTIBLE, list(blocks))}
    return {number for number in numbers if number - number % event.NUMBERS_PER_BLOCK in found}


# From a connection of its own, so that others see it before the transaction ends.
_SET_HANDLED = """
update usage_backfill set handled = $3 where account = $1 and id = $2 and state in ('CLOSING', 'REVERTING')
"""


async def set_handled(conn: Connection, account: int, *, backfill: UUID, handled: int) -> None:
    """Say how far closing or reverting is, for people who watch."""
    await conn.execute(_SET_HANDLED, account, backfill, handled)


_FINISH_CLOSE = """
update usage_backfill set state = 'CLOSED', closed_at = $3, updated_at = $3, handled = loaded + $7, counted = $4,
    duplicates = $5, corrections = $6, replaced = $7, numbers_from = $8, numbers_to = $9
where account = $1 and id = $2
"""


async def finish_close(
    conn: Connection,
    account: int,
    *,
    backfill: UUID,
    counts: Counts,
    numbers: Sequence[tuple[int, int]],
    now: datetime,
) -> None:
    """Say that it is closed, and what came of it."""
    starts, stops = [start for start, _ in numbers], [stop for _, stop in numbers]
    await conn.execute(
        _FINISH_CLOSE,
        *(account, backfill, now),
        *(counts.counted, counts.duplicates, counts.corrections, counts.replaced, starts, stops),
    )


async def finish_revert(conn: Connection, account: int, *, backfill: UUID, now: datetime) -> None:
    """Say that it is taken back."""
    await conn.execute(_SET_STATE, account, backfill, State.REVERTED, None, now)


async def give_up(conn: Connection, account: int, *, backfill: Backfill, problem: str, now: datetime) -> None:
    """Put a backfill back to where it was before it was asked for, with the reason."""
    before = State.OPEN if backfill.state is State.CLOSING else State.CLOSED
    await conn.execute(_SET_STATE, account, backfill.id, before, problem, now)


_SEGMENTS = msgspec.json.Decoder(tuple[Segment, ...])
_ENDS = msgspec.json.Decoder(dict[str, str])


def _one(row: asyncpg.Record | None) -> Backfill:
    if row is None:
        raise AssertionError("an update of a locked row answers it")
    return _backfill(row)


def _backfill(row: asyncpg.Record) -> Backfill:
    fields = {name: row[name] for name in Backfill.__struct_fields__ if name not in _MADE}
    return Backfill(
        **fields,
        segments=_SEGMENTS.decode(row["segments"]),
        state=State(row["state"]),
        ends=_ENDS.decode(row["ends"]) if row["ends"] else {},
        numbers=tuple(zip(row["numbers_from"], row["numbers_to"], strict=True)),
        counts=Counts(
            counted=row["counted"],
            duplicates=row["duplicates"],
            corrections=row["corrections"],
            replaced=row["replaced"],
        ),
    )


_MADE = {"segments", "state", "ends", "numbers", "counts"}
