"""The HTTP application of tests/api, and an aggregator that counts on demand."""

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from meter.aggregate import Aggregator
from runtime.settings import Settings
from store.db import Pool
from tests.api.conftest import api, clock

__all__ = ["api", "clock"]


@pytest.fixture
def aggregate(pool: Pool, redis: Redis) -> Callable[[], Awaitable[None]]:
    """Count until nothing is left."""
    aggregator = Aggregator(pool, redis, settings=Settings())

    async def until_empty() -> None:
        while await aggregator.step():
            pass

    return until_empty
