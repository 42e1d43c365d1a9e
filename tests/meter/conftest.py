"""An aggregator over the test's own servers."""

import pytest
from redis.asyncio import Redis

from meter.aggregate import Aggregator
from store.db import Pool
from tests.usage import aggregator


@pytest.fixture
async def counting(pool: Pool, redis: Redis) -> Aggregator:
    return aggregator(pool, redis)
