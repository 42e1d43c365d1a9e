"""What every process looks at before it does anything."""

from pathlib import Path

import pytest

from meter import stream
from runtime import embedded
from runtime.errors import SettingsError
from runtime.settings import Settings
from usance import loop

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("settings", "is_refused"),
    [
        (Settings(), True),
        (Settings(redis_check="warn"), False),
        (Settings(redis_wait_aof="yes"), False),
    ],
)
async def test_a_redis_that_loses_events_is_refused_or_loudly_complained_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: Settings, *, is_refused: bool
) -> None:
    server = embedded.start_valkey(tmp_path)
    redis = stream.connect(server.url)
    await redis.config_set("appendfsync", "everysec")

    if is_refused:
        with pytest.raises(SettingsError, match=r"USANCE_REDIS_URL: .*appendfsync everysec.*USANCE_REDIS_CHECK=warn"):
            await loop.check_promises(settings, redis)
    else:
        await loop.check_promises(settings, redis)

    assert ("may be lost" in capsys.readouterr().out) == (settings.redis_check == "warn")
    await redis.aclose()
    server.stop()


async def test_a_redis_that_is_away_is_complained_of_and_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    redis = stream.connect(f"unix://{tmp_path}/nowhere")

    await loop.check_promises(Settings(), redis)

    assert "is unknown" in capsys.readouterr().out
    await redis.aclose()
