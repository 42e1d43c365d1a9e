"""How many requests a key may make: counted in this process, off unless settings say otherwise.

Each of several HTTP processes allows its share, so no request waits for a counter elsewhere; a key whose connections
all end in one process gets that share only. Windows slide: half a minute after a burst, half of it counts.
"""

import math
import time

from aiohttp import web
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from api import error, scope
from store.account import Principal


class Rates:
    """The limits of one process."""

    def __init__(self, *, ingest: str | None, api: str | None, workers: int = 1) -> None:
        self._ingest = _share(ingest, workers)
        self._api = _share(api, workers)
        self.is_on = ingest is not None or api is not None
        # Counts nothing, and starts nothing, until it is asked.
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def check(self, request: web.Request, principal: Principal) -> None:
        """Count a request, and refuse it if there were too many."""
        is_ingest = request.method != "GET" and scope.is_usage(request.path)
        limit = self._ingest if is_ingest else self._api
        if limit is None:
            return
        who = (str(principal.account), principal.client_id, "ingest" if is_ingest else "api")
        if await self._limiter.hit(limit, *who):
            return
        stats = await self._limiter.get_window_stats(limit, *who)
        raise error.RateLimited(retry_after=max(1, math.ceil(stats.reset_time - time.time())))


def _share(limit: str | None, workers: int) -> RateLimitItem | None:
    """One process's part of a limit, at least one request."""
    if limit is None:
        return None
    whole = parse(limit)
    return type(whole)(max(1, whole.amount // workers), whole.multiples)
