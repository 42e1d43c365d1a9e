"""Who hangs loses its session, so that others can count; who sends ever so slowly does not.

    Evictions(pool).step() -> how many sessions were ended

A process that hangs in the middle of a statement holds the lease of a stream, or ids of a batch that it has begun, and
nothing else ends that (store/eviction.py). So every aggregator looks at the sessions of all others. Who is ended though
it lives does its batch again.
"""

from datetime import UTC, datetime, timedelta

import structlog

from store import eviction
from store.db import Pool

log = structlog.get_logger(__name__)

# Far above what a pause of a living process takes.
_SILENT_MAX = timedelta(minutes=1)


class Evictions:
    """Looks for those who hang. `step` is one look; `runtime.process.serve` repeats it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # Others who owe the rest of a statement, and since when.
        self._waits: dict[str, datetime] = {}

    async def step(self, now: datetime | None = None) -> int:
        """Look once; answers how many sessions were ended. `now` replaces the clock in tests."""
        now = now or datetime.now(UTC)
        async with self._pool.acquire() as conn:
            self._waits = {wait: self._waits.get(wait, now) for wait in await eviction.waits(conn)}
            stale = [wait for wait, since in self._waits.items() if now - since >= _SILENT_MAX]
            evicted = await eviction.evict(conn, stale) if stale else 0
        if evicted:
            log.error("a process that hangs has lost its sessions", action="evict", sessions=evicted)
        return evicted
