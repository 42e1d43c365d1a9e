"""What cannot be counted is set aside with its reason, event by event, and the stream goes on.

Theory of operation
    A batch is counted as a whole. If that fails for a reason that lies in the data (`is_poison`), the transaction is
    over; the next one counts the same batch in halves, each behind a savepoint, and halves again what fails, until
    what is left is single events. Those become dead letters in the transaction that counts all the others and moves
    the position. A failure of the world (Postgres away, disk full, deadlock) is never poison: the batch waits.

    An entry that cannot be taken apart becomes one letter as a whole.

    Raw events may be dropped after a time (store/partition.py). Then a correction or a cancellation of one of them
    cannot take effect: what was counted stays, and the correction is a letter.

    A bug of ours can look like poison in every event. So there is a limit to what may lie in the list; beyond it
    counting stops, loudly, and everything waits in the stream.

    A replay counts a letter as received when it was received: its place in the stream comes with it, so a version
    that came later still wins. It takes the stream's lease, so no aggregator decides about the same ids meanwhile.
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from meter import batch, count, entry, identity, timestamp
from meter.batch import Batch
from meter.count import Numbers, Outcome
from meter.entry import Block
from meter.error import DeadLettersFull, DeadLetterStays, MeterError, UnreadableEntry
from store import dead_letter, stream_position
from store.db import Connection
from store.dead_letter import WHOLE, DeadLetter, NewLetter
from store.error import RawEventDropped

Entry: TypeAlias = tuple[str, Sequence[Block]]
NewId: TypeAlias = Callable[[], UUID]

_REASON_CHARACTERS_MAX = 1_000

# What speaks of the data: it would fail again however often it is tried.
_POISON: tuple[type[BaseException], ...] = (
    *(UnreadableEntry, RawEventDropped),
    *(ValueError, LookupError, TypeError, ArithmeticError, AssertionError, struct.error, msgspec.MsgspecError),
    *(asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError),
)

# What says of itself what is wrong.
_NAMED = (MeterError, RawEventDropped)

_DROPPED = (
    "The event that this corrects or cancels is not kept as a raw event any more, so what it contributed stays counted."
)

_ILLEGIBLE: tuple[type[BaseException], ...] = (MeterError, *_POISON)


class Isolated(msgspec.Struct, frozen=True):
    """What became of a batch whose events were tried by themselves."""

    outcomes: tuple[Outcome, ...]
    letters: tuple[NewLetter, ...]


def is_poison(exc: BaseException) -> bool:
    """Whether the data is at fault, as opposed to the world, which is tried again."""
    return isinstance(exc, _POISON)


def readable(entry_id: str, payload: bytes, *, unreadable: list[NewLetter], new_id: NewId = uuid7) -> Sequence[Block]:
    """The blocks of an entry; one that cannot be taken apart becomes a letter."""
    try:
        return _sound(payload)
    except UnreadableEntry as exc:
        order = (*stream_position.order(entry_id), WHOLE)
        unreadable.append(
            NewLetter(id=new_id(), account=None, order=order, key=None, content=payload, code=exc.code, reason=str(exc))
        )
        return ()


async def isolate(
    conn: Connection, whole: Batch, *, numbers: Numbers, letters_max: int, new_id: NewId = uuid7
) -> Isolated:
    """Count what can be counted of a batch, inside the caller's transaction; the rest becomes letters."""
    outcomes: list[Outcome] = []
    letters: list[NewLetter] = []
    # These are nobody's mistake, so they have no limit.
    gone: list[NewLetter] = []
    # The last part is the next in order.
    parts = [whole]
    while parts:
        part = parts.pop()
        try:
            async with conn.transaction():
                # What becomes a letter may be counted later: as if there were several streams.
                outcomes.append(await count.count(conn, part, numbers=numbers, is_sharded=True))
            gone += dropped(part, outcomes[-1], new_id=new_id)
        except Exception as exc:
            if not is_poison(exc):
                raise
            if part.events > 1:
                parts.extend(reversed(batch.split(part)))
                continue
            (gone if isinstance(exc, RawEventDropped) else letters).append(_letter(part, 0, exc, new_id=new_id))
            if len(letters) > letters_max:
                raise DeadLettersFull from exc
    return Isolated(tuple(outcomes), (*letters, *gone))


def dropped(whole: Batch, outcome: Outcome, *, new_id: NewId = uuid7) -> list[NewLetter]:
    """Letters of what counting a batch has left aside, because the raw rows that it replaces are not kept any more."""
    return [_letter(whole, place, RawEventDropped(_DROPPED), new_id=new_id) for place in outcome.dropped]


async def keep(conn: Connection, letters: Sequence[NewLetter], *, stream: str, letters_max: int, now: datetime) -> None:
    """Put letters into the list, unless it is full: then nothing of the caller's transaction may stand."""
    await dead_letter.add(conn, letters, stream=stream, now=now)
    waiting = await dead_letter.waiting(conn)
    if waiting > letters_max:
        raise DeadLettersFull(f"{DeadLettersFull.__doc__} Waiting: {waiting}, allowed: {letters_max}.")


async def replay(conn: Connection, account: int | None, *, letter: UUID, now: datetime) -> DeadLetter:
    """Count a letter, once; DeadLetterStays says why it cannot be. One that was replayed before stays as it is.

    The events of a whole entry are tried by themselves: those that fail become letters of their own.
    """
    problem: BaseException | None = None
    async with conn.transaction():
        found = await dead_letter.get(conn, account, letter=letter)
        # The lease first, as an aggregator does; then the letter, which somebody else may have replayed meanwhile.
        await stream_position.wait(conn, found.stream)
        found = await dead_letter.get(conn, account, letter=letter, for_update=True)
        if found.replayed_at is not None:
            return found
        if found.discarded_at is not None:
            raise DeadLetterStays(f"It was discarded at {found.discarded_at:%Y-%m-%dT%H:%M:%SZ}. Send the event again.")
        try:
            async with conn.transaction():
                await _count(conn, found, now=now)
        except Exception as exc:
            if not is_poison(exc):
                raise
            problem = exc
            await dead_letter.failed(conn, letter, code=_code(exc), reason=_reason(exc), now=now)
        else:
            await dead_letter.replayed(conn, letter, now=now)
        found = await dead_letter.get(conn, account, letter=letter)
    if problem is not None:
        raise DeadLetterStays(f"{DeadLetterStays.__doc__} {found.reason}") from problem
    return found


async def discard(
    conn: Connection, account: int | None, *, letter: UUID, by: str, reason: str, now: datetime
) -> DeadLetter:
    """Let nobody wait for a letter any more. One that was replayed or discarded before stays as it is.

    What cannot be read may be anybody's, so no account discards it: only who has all of them.
    """
    async with conn.transaction():
        found = await dead_letter.get(conn, account, letter=letter, for_update=True)
        if account is not None and found.account is None:
            raise DeadLetterStays("It cannot be read whose it is: `usance dead-letters discard` discards it.")
        if found.replayed_at is None and found.discarded_at is None:
            await dead_letter.discard(conn, letter, by=by, reason=reason, now=now)
        return await dead_letter.get(conn, account, letter=letter)


def opened(content: bytes) -> list[dict[str, Any]] | None:
    """The events of a letter for people to read, as far as they can be read; None: not at all."""
    try:
        return [_shown(block, place) for block in entry.decode(content) for place in range(len(block))]
    except _ILLEGIBLE:
        # That it cannot be read is why it lies there.
        return None


async def _count(conn: Connection, letter: DeadLetter, *, now: datetime) -> None:
    blocks = _sound(letter.content)
    numbers: Numbers = defaultdict(dict)
    is_whole = letter.entry_index == WHOLE
    first_index = stream_position.first_index(letter.stream) if is_whole else letter.entry_index
    whole = batch.batch([(letter.position, blocks)], first_index=first_index)
    if whole.events == 1:
        # Others may have counted versions that came later: as if there were several streams.
        if (await count.count(conn, whole, numbers=numbers, is_sharded=True)).dropped:
            raise RawEventDropped(_DROPPED)
        return
    found = await isolate(conn, whole, numbers=numbers, letters_max=whole.events)
    await dead_letter.add(conn, found.letters, stream=letter.stream, now=now)


def _sound(payload: bytes) -> Sequence[Block]:
    blocks = entry.decode(payload)
    if not all(map(entry.is_sound, blocks)):
        raise UnreadableEntry("The columns of a stream entry do not belong together.")
    return blocks


def _letter(whole: Batch, place: int, exc: BaseException, *, new_id: NewId) -> NewLetter:
    alone = batch.one(whole, place)
    [placed] = alone.blocks
    return NewLetter(
        id=new_id(),
        account=placed.block.account,
        order=alone.candidate(0).order,
        key=identity.public_id(placed.block.keys[: entry.KEY_BYTES]),
        content=entry.join([entry.encode_block(placed.block)]),
        code=_code(exc),
        reason=_reason(exc),
    )


def _code(exc: BaseException) -> str:
    return exc.code if isinstance(exc, _NAMED) else "UNCOUNTABLE"


def _reason(exc: BaseException) -> str:
    said = str(exc) if isinstance(exc, _NAMED) else f"{type(exc).__name__}: {exc}"
    return said[:_REASON_CHARACTERS_MAX]


def _shown(block: Block, place: int) -> dict[str, Any]:
    key = block.keys[entry.KEY_BYTES * place : entry.KEY_BYTES * (place + 1)]
    return {
        "id": identity.public_id(key),
        "customerEventId": block.ids.get(place) or str(identity.public_id(key)),
        "customerAlias": block.alias_names[block.alias_places[place]],
        "eventType": block.type_names[block.type_places[place]],
        "eventTimestamp": timestamp.instant(block.timestamps[place]),
        "eventProperties": block.properties[place].decode(errors="replace"),
    }
