"""What cannot be counted is set aside with its reason, event by event, and the stream goes on.

Theory of operation
    A batch is counted as a whole. If that fails for a reason that lies in the data (`is_poison`), the transaction is
    over; the next one counts the same batch in halves, each behind a savepoint, and halves again what fails, until
    what is left is single events. Those become dead letters in the transaction that counts all the others and moves
    the position. A failure of the world (Postgres away, disk full, deadlock) is never poison: the batch waits.

    An entry that cannot be taken apart becomes one letter as a whole.

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

from meter import batch, count, entry, event, identity
from meter.batch import Batch
from meter.count import Numbers, Outcome
from meter.entry import Block
from meter.error import DeadLettersFull, DeadLetterStays, MeterError, UnreadableEntry
from store import dead_letter, stream_position
from store.db import Connection
from store.dead_letter import WHOLE, DeadLetter, NewLetter

Entry: TypeAlias = tuple[str, Sequence[Block]]
NewId: TypeAlias = Callable[[], UUID]

_REASON_CHARACTERS_MAX = 1_000

# What speaks of the data: it would fail again however often it is tried.
_POISON: tuple[type[BaseException], ...] = (
    UnreadableEntry,
    *(ValueError, LookupError, TypeError, ArithmeticError, AssertionError, struct.error, msgspec.MsgspecError),
    *(asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError),
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
    conn: Connection, whole: Batch, *, numbers: Numbers, is_sharded: bool, letters_max: int, new_id: NewId = uuid7
) -> Isolated:
    """Count what can be counted of a batch, inside the caller's transaction; the rest becomes letters."""
    outcomes: list[Outcome] = []
    letters: list[NewLetter] = []
    # The last part is the next in order.
    parts = [whole]
    while parts:
        part = parts.pop()
        try:
            async with conn.transaction():
                outcomes.append(await count.count(conn, part, numbers=numbers, is_sharded=is_sharded))
        except Exception as exc:
            if not is_poison(exc):
                raise
            if part.events > 1:
                parts.extend(reversed(batch.split(part)))
                continue
            letters.append(_letter(part, exc, new_id))
            if len(letters) > letters_max:
                raise DeadLettersFull from exc
    return Isolated(tuple(outcomes), tuple(letters))


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
    whole = batch.batch([(letter.position, blocks)], first_index=max(letter.entry_index, 0))
    if whole.events == 1:
        await count.count(conn, whole, numbers=numbers, is_sharded=True)
        return
    # Others may have counted versions that came later: as if there were several streams.
    found = await isolate(conn, whole, numbers=numbers, is_sharded=True, letters_max=whole.events)
    await dead_letter.add(conn, found.letters, stream=letter.stream, now=now)


def _sound(payload: bytes) -> Sequence[Block]:
    blocks = entry.decode(payload)
    if not all(map(entry.is_sound, blocks)):
        raise UnreadableEntry("The columns of a stream entry do not belong together.")
    return blocks


def _letter(part: Batch, exc: BaseException, new_id: NewId) -> NewLetter:
    [placed] = part.blocks
    return NewLetter(
        id=new_id(),
        account=placed.block.account,
        order=part.candidate(0).order,
        key=identity.public_id(placed.keys[0]),
        content=entry.join([entry.encode_block(placed.block)]),
        code=_code(exc),
        reason=_reason(exc),
    )


def _code(exc: BaseException) -> str:
    return exc.code if isinstance(exc, MeterError) else "UNCOUNTABLE"


def _reason(exc: BaseException) -> str:
    said = str(exc) if isinstance(exc, MeterError) else f"{type(exc).__name__}: {exc}"
    return said[:_REASON_CHARACTERS_MAX]


def _shown(block: Block, place: int) -> dict[str, Any]:
    key = block.keys[entry.KEY_BYTES * place : entry.KEY_BYTES * (place + 1)]
    return {
        "id": identity.public_id(key),
        "customerEventId": block.ids.get(place) or str(identity.public_id(key)),
        "customerAlias": block.alias_names[block.alias_places[place]],
        "eventType": block.type_names[block.type_places[place]],
        "eventTimestamp": event.instant(block.timestamps[place]),
        "eventProperties": block.properties[place].decode(errors="replace"),
    }
