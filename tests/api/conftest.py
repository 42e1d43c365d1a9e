"""A Redis that cannot be reached, for what the API says then."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from meter import stream


@pytest.fixture
async def away(tmp_path: Path) -> AsyncIterator[Redis]:
    """A Redis that cannot be reached."""
    redis = stream.connect(f"unix://{tmp_path}/nothing")
    yield redis
    await redis.aclose()
