"""The HTTP process as it is run: `usance serve` with real servers, real signals, and what it logs."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec
import pytest

from runtime.settings import Settings
from store import account as accounts
from store.account import Principal
from store.db import Connection

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 20
STOP_SECONDS_MAX = 10
NOW = datetime(2025, 1, 1, tzinfo=UTC)
WAITING = "select exists (select from pg_locks where not granted)"
CLIENT_ID, SECRET = "test", "a-secret-of-the-tests"


class Serve:
    """One run of `usance serve`."""

    def __init__(self, output: Path, *options: str) -> None:
        self.output = output
        with output.open("wb") as log:
            command = [sys.executable, "-m", "usance.cli", "serve", *options]
            environment = Settings(log_level="debug").environment() | {"PATH": "/usr/bin:/bin"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def url(self) -> str:
        wait_until(lambda: "Listening on " in self.said or self.process.poll() is not None)
        return self.said.partition("Listening on ")[2].split()[0]

    def ask(self, path: str, *, key: str = f"{CLIENT_ID}:{SECRET}") -> tuple[int, Any]:
        request = Request(self.url + path, headers={"Authorization": f"Bearer {key}"})  # noqa: S310 our own URL
        try:
            with urlopen(request, timeout=5) as response:  # noqa: S310 our own URL
                return response.status, response.read()
        except HTTPError as refused:
            return refused.code, refused.read()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def start(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Callable[..., Serve]]:
    started: list[Serve] = []

    def begin(*options: str) -> Serve:
        urls = ("--database-url", database_url, "--redis-url", redis_url)
        started.append(Serve(tmp_path / f"{len(started)}.log", *urls, *options))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait()


async def test_serve_answers_until_it_is_told_to_stop(start: Callable[..., Serve]) -> None:
    serve = start("--port", "0")

    healthy, ready, nowhere = serve.ask("/health"), serve.ask("/ready"), serve.ask("/nowhere")
    metrics = serve.ask("/metrics")
    serve.process.send_signal(signal.SIGTERM)

    assert serve.process.wait(STOP_SECONDS_MAX) == 0
    assert healthy == (200, b'{"status":"ok"}')
    assert ready == (200, b'{"status":"ready","redis":"ok","postgres":"ok"}')
    assert (nowhere[0], msgspec.json.decode(nowhere[1])["error"]["errors"][0]["code"]) == (404, "UNKNOWN_PATH")
    assert b'usance_request_seconds_count{method="GET",route="/health",status="200"} 1.0' in metrics[1]


async def test_secrets_and_customers_data_never_reach_the_log(
    start: Callable[..., Serve], conn: Connection, account: Principal
) -> None:
    await accounts.create_key(conn, account.account, client_id=CLIENT_ID, secret=SECRET, now=NOW)
    await conn.execute("alter table product rename to hidden")
    serve = start("--port", "0")

    failed, _ = serve.ask("/api/products?name=private-name")
    refused, _ = serve.ask("/api/products", key="someone:wrong-secret")
    serve.process.send_signal(signal.SIGTERM)
    serve.process.wait(STOP_SECONDS_MAX)

    assert (failed, refused) == (500, 401)
    assert "UndefinedTableError" in serve.said
    assert [word for word in (SECRET, "wrong-secret", "private-name") if word in serve.said] == []


async def test_a_port_that_is_taken_is_said_in_one_line(start: Callable[..., Serve]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        serve = start("--port", str(taken.getsockname()[1]))
        code = serve.process.wait(SECONDS_MAX)

    assert code == 2
    assert "choose another with --port" in serve.said
    assert "Traceback" not in serve.said


async def test_a_request_in_flight_is_answered_before_the_end(
    start: Callable[..., Serve], conn: Connection, account: Principal
) -> None:
    await accounts.create_key(conn, account.account, client_id=CLIENT_ID, secret=SECRET, now=NOW)
    serve = start("--port", "0")
    assert serve.url
    async with conn.transaction():
        await conn.execute("lock table product in access exclusive mode")
        answer = asyncio.create_task(asyncio.to_thread(serve.ask, "/api/products"))
        async with asyncio.timeout(SECONDS_MAX):
            while not await conn.fetchval(WAITING):  # noqa: ASYNC110 another process waits; no event tells
                await asyncio.sleep(0.01)
        serve.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(serve.url))

    assert (await answer)[0] == 200
    assert serve.process.wait(STOP_SECONDS_MAX) == 0


def refuses(url: str) -> bool:
    """Whether no new connection is taken."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0
