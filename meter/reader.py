"""What comes after a position of a stream, as the batch that one transaction takes.

    Reader(redis, ...).read(name, position)             the next batch; None: there is nothing
    Reader(...).read(name, position, unreadable=[])     the same, and what cannot be read becomes letters
    Reader(...).look_ahead(name, found)                 reads what follows a batch while something else goes on
    Reader(...).peek(name)                              what is read ahead, which `read` will answer if it is right

A batch that was read ahead is used if the position has come to where it begins, and thrown away if it has not: another
process counted, or a transaction was rolled back.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from meter import batch, dead_letter, entry, stream
from meter.batch import Batch
from meter.entry import Block
from store import stream_position
from store.dead_letter import NewLetter

log = structlog.get_logger(__name__)

# Entries differ in size by four digits, so the first read is small, and the others follow from what was seen.
_ENTRIES_FIRST = 8
_ENTRIES_MAX = 8_192
_GROWTH_MAX = 16
_READ_BYTES = 16 * 1024 * 1024
# Decoded it takes several times as much, and a second batch is read ahead.
_BATCH_BYTES_MAX = 64 * 1024 * 1024


class _Ahead(msgspec.Struct, frozen=True):
    after: str
    reading: "asyncio.Task[Batch | None]"


class Reader:
    """Reads streams for one aggregator."""

    def __init__(self, redis: Redis, *, events_max: int, ahead_min: int) -> None:
        self._redis = redis
        self._events_max = events_max
        # Where batches are smaller nothing is read ahead, so the next one has all that has come meanwhile.
        self._ahead_min = ahead_min
        self._ahead: dict[str, _Ahead] = {}

    async def read(self, name: str, position: str, *, unreadable: list[NewLetter] | None = None) -> Batch | None:
        """All that follows a position, or as much as one transaction takes."""
        ahead = self._ahead.pop(name, None)
        is_counted_here = await stream.holds(self._redis, name, position)
        if ahead is not None:
            if is_counted_here and unreadable is None and ahead.after == position and (found := await ahead.reading):
                return found
            ahead.reading.cancel()
        if is_counted_here:
            return await self._batch(name, position, unreadable)
        log.warning(
            "the stream does not hold what was counted last, counting from its beginning",
            action="read",
            stream=name,
            position=position,
        )
        # A server without memory takes nothing in either, until counting makes room.
        with contextlib.suppress(OutOfMemoryError):
            await stream.overtake(self._redis, name, position)
        return await self._batch(name, stream_position.START, unreadable)

    def look_ahead(self, name: str, found: Batch) -> bool:
        """Begin to read what follows a batch, if there is likely to be much; answers whether it does."""
        if found.events < self._ahead_min:
            return False
        reading = asyncio.create_task(self._enough(name, found.end), name=f"read ahead {name}")
        self._ahead[name] = _Ahead(found.end, reading)
        return True

    async def peek(self, name: str) -> Batch | None:
        """What is being read ahead, once it is read; `read` answers the same if it is still what follows."""
        ahead = self._ahead.get(name)
        return await ahead.reading if ahead else None

    def is_ahead(self, name: str, position: str) -> bool:
        """Whether what follows a position is being read already."""
        ahead = self._ahead.get(name)
        return ahead is not None and ahead.after == position

    def forget(self, name: str) -> None:
        """Let go of what was read ahead of a stream that somebody else counts."""
        if ahead := self._ahead.pop(name, None):
            ahead.reading.cancel()

    async def _enough(self, name: str, after: str) -> Batch | None:
        """What was read ahead, if there is enough of it."""
        try:
            found = await self._batch(name, after, None)
        except Exception:  # noqa: BLE001 it is read again, and fails again if it must
            return None
        return found if found and found.events >= self._ahead_min else None

    async def _batch(self, name: str, after: str, unreadable: list[NewLetter] | None) -> Batch | None:
        entries = await self._entries(name, after, unreadable)
        return batch.batch(entries, first_index=stream_position.first_index(name)) if entries else None

    async def _entries(
        self, name: str, after: str, unreadable: list[NewLetter] | None
    ) -> list[tuple[str, Sequence[Block]]]:
        entries: list[tuple[str, Sequence[Block]]] = []
        events = size = 0
        limit = _ENTRIES_FIRST
        while True:
            found = await stream.read(self._redis, name, after=after, limit=limit)
            for one in found:
                blocks = (
                    entry.decode(one.payload)
                    if unreadable is None
                    else dead_letter.readable(one.id, one.payload, unreadable=unreadable)
                )
                entries.append((one.id, blocks))
                events += sum(map(len, blocks))
                size += len(one.payload)
                if events >= self._events_max or size >= _BATCH_BYTES_MAX:
                    return entries
            if len(found) < limit:
                return entries
            after = found[-1].id
            wanted = min(
                (self._events_max - events) * len(entries) // max(events, 1), _READ_BYTES * len(entries) // size
            )
            limit = max(1, min(wanted + 1, _GROWTH_MAX * limit, _ENTRIES_MAX))
