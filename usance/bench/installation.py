"""The installation that is measured: `usance up` in a temporary folder, with the settings that everybody gets.

    with Installation() as running:
        running.endpoints, running.target()         where it answers
        running.parts()                             its processes by name
        await installation.describe(running)        the two metrics that count what traffic.py sends

Everything it runs is a child of `usance up`, so it ends with the benchmark. Nothing is made faster by giving up what
the product promises: fsync and synchronous_commit are on.
"""

import base64
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from uuid import UUID

import msgspec

from runtime import folder
from runtime.folder import Endpoints
from runtime.settings import Settings
from usance.bench import machine, program, traffic
from usance.bench.load import Target
from usance.client import Client

CLIENT_ID = "bench"
READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
_POLL_SECONDS = 0.02
_LOG_BYTES_SHOWN = 2_000
# By the command of ours, or the program.
_PARTS = {
    "serve": "HTTP workers",
    "aggregate": "aggregator",
    "invoice": "invoicer",
    "postgres": "Postgres",
    "valkey-server": "Valkey",
}


class InstallationError(Exception):
    """`usance up` did not start; its last words follow."""

    code: ClassVar[str] = "BENCH_INSTALLATION"


class Metrics(msgspec.Struct, frozen=True):
    """The ids of the metrics that count the traffic."""

    calls: UUID
    tokens: UUID


class Installation:
    """A context manager: up on the way in, down and its folder removed on the way out."""

    endpoints: Endpoints

    def __init__(self, *, http_workers: int | None = None, keeps: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="usance-bench-"))
        self.secret = secrets.token_urlsafe(24)
        self._keeps = keeps
        self._log = self.folder / "up.log"
        self._settings = Settings(
            data_dir=self.folder / "data",
            port=0,
            client_id=CLIENT_ID,
            client_secret=self.secret,
            http_workers=http_workers,
            log_level="warning",
        )

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = program.start("usance.cli", "up", settings=self._settings, stdout=log, stderr=log)
        try:
            self.endpoints = self._until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, and remove its folder."""
        program.end(self._process, seconds=STOP_SECONDS_MAX)
        if not self._keeps:
            shutil.rmtree(self.folder, ignore_errors=True)

    def client(self) -> Client:
        """A client of its API."""
        return Client(self.endpoints.http_url, client_id=CLIENT_ID, secret=self.secret)

    def target(self) -> Target:
        """Where events go, and where one sees that they are counted."""
        host, _, port = self.endpoints.http_url.removeprefix("http://").rpartition(":")
        token = base64.b64encode(f"{CLIENT_ID}:{self.secret}".encode()).decode("ascii")
        return Target(
            host=host,
            port=int(port),
            path="/api/usage-events",
            authorization=f"Basic {token}",
            database_url=self.endpoints.database_url,
        )

    def parts(self) -> Mapping[str, list[int]]:
        """The process ids of each part with all below it, by its name."""
        found: dict[str, list[int]] = {"supervisor": [self._process.pid]}
        for pid in machine.children(self._process.pid):
            name = _PARTS.get(_program(machine.command_line(pid)), "others")
            found.setdefault(name, []).extend(machine.trees([pid]))
        return found

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_bytes()[-_LOG_BYTES_SHOWN:].decode(errors="replace")

    def _until_ready(self) -> Endpoints:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise InstallationError(f"`usance up` ended with {self._process.returncode}.\n{self.last_words()}")
            found = folder.find(self.folder / "data")
            if found is not None:
                return found
            time.sleep(_POLL_SECONDS)
        raise InstallationError(f"`usance up` was not ready after {READY_SECONDS_MAX:.0f} s.\n{self.last_words()}")


def _program(words: Sequence[str]) -> str:
    """A command of ours (`... -m usance.cli serve`), or the name of another program."""
    if "usance.cli" in words:
        return words[words.index("usance.cli") + 1]
    # Servers write what they do behind their name: "postgres: checkpointer".
    return Path(words[0].partition(" ")[0]).name.rstrip(":") if words else ""


async def describe(running: Installation) -> Metrics:
    """Create the metrics: calls of a customer, and tokens by model."""
    async with running.client() as client:
        calls = {"name": "Calls", "metricType": "SIMPLE", "eventType": traffic.EVENT_TYPE, "aggregationType": "COUNT"}
        tokens = {
            "name": "Tokens by model",
            "metricType": "GROUPED",
            "eventType": traffic.EVENT_TYPE,
            "aggregationType": "SUM",
            "aggregationProperty": "tokens",
            "groupBy": ["model"],
        }
        made = [await client.post("/usage-metrics", body) for body in (calls, tokens)]
    return Metrics(*(UUID(one["id"]) for one in made))
