"""The load test against the product: it ends with 0 when every reply is what it should be, and not otherwise."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fleet import CLIENT_ID, SECRET, Fleet

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 90.0
SHAPES = {"event", "batch", "month", "series", "calculate", "token", "stream: first message", "stream: news"}


@pytest.fixture(scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        await fleet.start()
        yield fleet
    finally:
        await fleet.stop()


async def test_a_refused_key_fails_the_run(fleet: Fleet) -> None:
    code, said = await locust(fleet, secret="not-the-secret-of-the-fleet")

    assert (code, "the key is refused (401)" in said) == (1, True), said


async def test_every_shape_is_answered(fleet: Fleet) -> None:
    code, said = await locust(fleet, secret=SECRET)

    assert code == 0, said
    assert {shape for shape in SHAPES if f" {shape} " in said} == SHAPES


async def test_a_failed_reply_fails_the_run(fleet: Fleet) -> None:
    before = await events(fleet)
    running = asyncio.create_task(locust(fleet, secret=SECRET))
    async with asyncio.timeout(SECONDS_MAX):
        while not running.done() and await events(fleet) == before:  # noqa: ASYNC110 other processes
            await asyncio.sleep(0.05)
    # Events are answered with 503 from here on.
    fleet.proxies["worker-valkey"].cut()
    code, said = await running
    fleet.proxies["worker-valkey"].flow()

    assert (code, "503" in said) == (1, True), said


async def events(fleet: Fleet) -> int:
    async with fleet.connected() as conn:
        found: int = await conn.fetchval("select count(*) from usage_event where event_type = 'load-test'")
        return found


async def locust(fleet: Fleet, *, secret: str) -> tuple[int | None, str]:
    """How a short run ends, and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary"),
        *("--users", "12", "--spawn-rate", "12", "--run-time", "10s", "--stop-timeout", "10"),
        *("--host", f"http://127.0.0.1:{fleet.ports[0]}", "--client-id", CLIENT_ID, "--client-secret", secret),
        cwd=ROOT,
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS_MAX):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()
