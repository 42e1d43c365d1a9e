"""Small words about backfills for tests: one is opened, loaded, closed and reverted, with live events in between."""

from typing import Any

from redis.asyncio import Redis

from meter.backfill import Backfiller
from runtime.settings import Settings
from store.db import Pool
from tests.server import Server
from tests.usage import NOW, aggregator, drain

RANGE = {"from": "2025-03-01T00:00:00Z", "to": "2025-03-08T00:00:00Z"}


class Loading:
    """A server with everything a backfill goes through."""

    def __init__(self, api: Server, pool: Pool, redis: Redis, **settings: Any) -> None:
        self.api = api
        self.counting = aggregator(pool, redis)
        self.backfiller = Backfiller(pool, redis, settings=Settings(**settings), piece_events_max=3)

    async def open(self, **changes: Any) -> str:
        made = await self.api.made("/usage-backfills", {"customerAliases": ["acme"], **RANGE, **changes})
        return str(made["id"])

    async def load(self, backfill: str, *events: dict[str, Any]) -> None:
        reply = await self.api.post("/usage-events", list(events), headers={"Usance-Backfill": backfill})
        assert (reply.status, reply.body["rejected"]) == (202, [])

    async def live(self, *events: dict[str, Any]) -> None:
        """Send, and count."""
        await self.api.made("/usage-events", list(events))
        await drain(self.counting)

    async def cancel(self, id_: str) -> None:
        assert (await self.api.delete(f"/usage-events/{id_}")).status == 202
        await drain(self.counting)

    async def close(self, backfill: str) -> dict[str, Any]:
        return await self._finish(backfill, "close")

    async def revert(self, backfill: str) -> dict[str, Any]:
        return await self._finish(backfill, "revert")

    async def shown(self, backfill: str) -> dict[str, Any]:
        return dict((await self.api.get(f"/usage-backfills/{backfill}")).body)

    async def _finish(self, backfill: str, verb: str) -> dict[str, Any]:
        reply = await self.api.post(f"/usage-backfills/{backfill}/{verb}")
        assert reply.status in {200, 202}, reply.body
        await drain(self.counting)
        await self.backfiller.step(NOW)
        return await self.shown(backfill)


def counts(shown: dict[str, Any]) -> tuple[int, ...]:
    """Loaded, counted, duplicates, corrections, replaced."""
    names = ("loadedCount", "countedCount", "duplicateCount", "correctionCount", "replacedCount")
    return tuple(shown[name] for name in names)
