"""Repeats that can decide nothing any more, forgotten.

    Repeats(pool, redis, streams=...).step()    one bounded piece of the history of ids

Where several streams are read in no particular order, a repeat may turn out to be the last word: what came between it
and what it repeats may still arrive. So every repeat is remembered (correct.py), until all streams are counted past
it. Then nothing can come between any more, and walking the history with it or without it is the same.

Ids are times, given by the clock of Redis. A stream is counted past an instant if its position is, or if it held
nothing beyond its position at a later instant. Clocks of several servers may disagree, hence the margin.
"""

from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from meter import stream
from store import event_version, stream_position
from store.db import Pool

# Far more than clocks disagree; history is small however long it is kept.
MARGIN = timedelta(hours=1)
PIECE_ITEMS_MAX = 5_000


class Repeats:
    """Forgets what was repeated. `step` is one bounded piece; `runtime.process.serve` repeats it."""

    def __init__(self, pool: Pool, redis: Redis, *, streams: int, piece_items_max: int = PIECE_ITEMS_MAX) -> None:
        self._pool = pool
        self._redis = redis
        self._names = stream.names(streams)
        self._piece_items_max = piece_items_max

    async def step(self, now: datetime | None = None) -> int:
        """Look at the next items; 0 when there are none. `now` replaces the clock in tests."""
        now = now or datetime.now(UTC)
        async with self._pool.acquire() as conn:
            positions = await stream_position.read(conn)
            # Streams that are written to no more may still be counted.
            ends = await stream.ends(self._redis, sorted({*self._names, *positions}))
            before = int((now - MARGIN).timestamp() * 1_000)
            for name, end in ends.items():
                counted = stream_position.order(positions.get(name, stream_position.START))
                if counted < stream_position.order(end):
                    before = min(before, counted[0])
            async with conn.transaction():
                return await event_version.forget_repeats(conn, before_ms=before, items_max=self._piece_items_max)
