"""`usance up` as people meet it: real processes, real servers, real signals."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import asyncpg
import msgspec
import pytest
from aiohttp import encode_basic_auth

from runtime.folder import Endpoints
from store import db

# Processes that are started and stopped take seconds.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STOP_SECONDS_MAX = 10
READY_SECONDS_MAX = 40
EXIT_CANNOT_START = 2

Start = Callable[..., "Up"]


class Up:
    """One run of `usance up`, and everything that it started."""

    def __init__(self, data_dir: Path, *options: str, through: tuple[str | Path, ...] = (), **environment: str) -> None:
        self.data_dir = data_dir
        self.output = data_dir.with_name(f"{data_dir.name}-{time.monotonic_ns()}.log")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*through, sys.executable, "-m", "usance.cli", "up", "--data-dir", data_dir, "--port", "0", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=clean_environment(**environment),
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    def ready(self) -> "Up":
        poll(lambda: "Usance is running" in self.said or self.process.poll() is not None, seconds=READY_SECONDS_MAX)
        assert self.process.poll() is None, self.said
        return self

    @property
    def endpoints(self) -> Endpoints:
        return msgspec.json.decode((self.data_dir / "run/endpoints.json").read_bytes(), type=Endpoints)

    def key(self) -> tuple[str, str]:
        shown = dict(line.strip().split("=", 1) for line in self.said.splitlines() if line.startswith("  USANCE_"))
        return shown["USANCE_CLIENT_ID"], shown["USANCE_CLIENT_SECRET"]

    def ask(self, path: str, *, key: tuple[str, str] | None = None) -> bytes:
        headers = {"Authorization": encode_basic_auth(*key)} if key else {}
        with urlopen(Request(self.endpoints.http_url + path, headers=headers), timeout=5) as reply:  # noqa: S310
            content: bytes = reply.read()
            return content

    def child(self, name: str) -> int:
        """The pid of the newest child of that name."""
        started = [msgspec.json.decode(line) for line in self.said.splitlines() if '"action":"start"' in line]
        return int([line["pid"] for line in started if line["child"] == name][-1])

    def stop(self, wish: signal.Signals = signal.SIGTERM) -> float:
        started = time.monotonic()
        self.process.send_signal(wish)
        self.process.wait(STOP_SECONDS_MAX + 5)
        return time.monotonic() - started


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    yield from starter(tmp_path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One run for the tests that leave it as they found it."""
    for start in starter(tmp_path_factory.mktemp("up")):
        yield start().ready()


def starter(folder: Path) -> Iterator[Start]:
    runs: list[Up] = []

    def begin(*options: str, folder: Path = folder, **how: Any) -> Up:
        runs.append(Up(folder / "data", *options, **how))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.stop()


def test_it_starts_shows_a_key_once_and_stops_in_time_without_orphans(start: Start) -> None:
    first = start().ready()
    key = first.key()
    account = first.ask("/api/sequence-accounts", key=key)
    family = descendants(first.process.pid)
    seconds = first.stop()
    second = start().ready()

    assert (first.process.returncode, seconds < STOP_SECONDS_MAX) == (0, True)
    assert len(family) > 5
    assert not [pid for pid in family if is_alive(pid)]
    assert account == second.ask("/api/sequence-accounts", key=key)
    assert "USANCE_CLIENT_SECRET" not in second.said


def test_ready_health_and_the_metrics_of_all_processes_are_there(running: Up) -> None:
    assert b"ready" in running.ask("/ready")
    assert b"ok" in running.ask("/health")
    poll(lambda: b"usance_stream_depth" in running.ask("/metrics"))  # the aggregator's, shown by the HTTP process


def test_a_second_one_in_the_same_folder_is_told_who_runs(running: Up) -> None:
    second = usance("up", "--data-dir", str(running.data_dir), "--port", "0")
    at = f"{running.endpoints.http_url}, process {running.process.pid}"

    assert second.returncode == EXIT_CANNOT_START
    assert f"running in {running.data_dir} already: {at}" in second.stderr
    assert "Traceback" not in second.stderr
    assert running.ask("/health")


def test_a_command_finds_the_servers_through_the_folder(running: Up) -> None:
    done = usance("invoice", "--once", "--data-dir", str(running.data_dir))

    assert (done.returncode, done.stdout) == (0, "0 billing schedules were due.\n")


@pytest.mark.parametrize("name", ["serve-0", "aggregate", "invoice", "Postgres", "Valkey"])
def test_a_part_that_is_killed_is_started_again(running: Up, name: str) -> None:
    url, victim = running.endpoints.http_url, running.child(name)
    os.kill(victim, signal.SIGKILL)

    poll(lambda: running.child(name) != victim and is_alive(running.child(name)))
    poll(lambda: answers(running, "/ready", with_word=b'"postgres":"ok"'))
    assert running.endpoints.http_url == url


def test_a_killed_supervisor_leaves_nothing_that_blocks_the_next_start(start: Start) -> None:
    first = start().ready()
    key = first.key()
    family = descendants(first.process.pid)
    first.process.kill()
    first.process.wait()
    second = start().ready()

    assert second.ask("/api/sequence-accounts", key=key)
    poll(lambda: not [pid for pid in family if is_alive(pid)])


def test_stopping_it_while_it_starts_leaves_nothing(start: Start) -> None:
    run = start()
    poll((run.data_dir / "postgres/data").exists)
    family = descendants(run.process.pid)
    seconds = run.stop()

    assert (run.process.returncode, seconds < STOP_SECONDS_MAX) == (0, True)
    assert not [pid for pid in family if is_alive(pid)]
    assert start().ready().ask("/health")
    assert not (run.data_dir / "postgres/data.new").exists()


def test_a_preset_key_opens_the_api_and_another_secret_for_it_is_refused(start: Start) -> None:
    key = ("preset", "0123456789abcdef")
    first = start(USANCE_CLIENT_ID=key[0], USANCE_CLIENT_SECRET=key[1]).ready()
    assert first.ask("/api/sequence-accounts", key=key)
    seconds = first.stop(signal.SIGINT)  # as Ctrl-C does
    second = start(USANCE_CLIENT_ID=key[0], USANCE_CLIENT_SECRET="fedcba9876543210")

    assert (first.process.returncode, seconds < STOP_SECONDS_MAX) == (0, True)
    assert key[1] not in first.said
    assert "Traceback" not in first.said
    assert second.process.wait(READY_SECONDS_MAX) == EXIT_CANNOT_START
    assert "a key preset exists with another secret" in second.said


@pytest.mark.usefixtures("redis")
def test_real_servers_are_used_where_urls_are_given(start: Start, empty_database_url: str, redis_url: str) -> None:
    run = start("--database-url", empty_database_url, "--redis-url", redis_url, USANCE_HTTP_WORKERS="2").ready()

    assert run.ask("/api/sequence-accounts", key=run.key())
    assert {run.child("serve-0"), run.child("serve-1")} <= set(descendants(run.process.pid))
    assert not (run.data_dir / "postgres").exists()
    assert not (run.data_dir / "valkey").exists()
    assert run.stop() < STOP_SECONDS_MAX


def test_a_newer_database_is_refused_with_the_command_to_run(start: Start, database_url: str, redis_url: str) -> None:
    asyncio.run(set_revision(database_url, "9999"))
    run = start("--database-url", database_url, "--redis-url", redis_url)

    assert run.process.wait(READY_SECONDS_MAX) == EXIT_CANNOT_START
    assert "make install" in run.said
    assert "Traceback" not in run.said


@pytest.mark.parametrize("command", ["serve", "aggregate", "invoice"])
@pytest.mark.parametrize(("revision", "remedy"), [("0001", "usance migrate"), ("9999", "make install")])
def test_each_part_refuses_a_database_of_another_shape(
    database_url: str, redis_url: str, command: str, revision: str, remedy: str
) -> None:
    asyncio.run(set_revision(database_url, revision))
    done = usance(command, "--database-url", database_url, "--redis-url", redis_url)

    assert done.returncode == EXIT_CANNOT_START
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("redis")
def test_each_part_runs_alone_until_it_is_told_to_stop(database_url: str, redis_url: str) -> None:
    servers = ("--database-url", database_url, "--redis-url", redis_url)
    with subprocess.Popen(
        [sys.executable, "-m", "usance.cli", "serve", "--port", "0", *servers],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=clean_environment(USANCE_LOG_LEVEL="warning"),
        text=True,
    ) as serving:
        assert serving.stdout is not None
        url = serving.stdout.readline().removeprefix("Listening on ").strip()
        with urlopen(f"{url}/health", timeout=5) as reply:  # noqa: S310
            assert reply.status == 200
        serving.terminate()
        assert serving.wait(STOP_SECONDS_MAX) == 0


def test_migrate_brings_an_empty_database_to_this_version(empty_database_url: str) -> None:
    done = usance("migrate", "--database-url", empty_database_url)

    assert (done.returncode, done.stdout) == (0, f"The database is at revision {db.head()}; it was at none.\n")


@pytest.mark.usefixtures("redis")
def test_invoice_once_bills_what_is_due_and_ends(database_url: str, redis_url: str) -> None:
    servers = ("--database-url", database_url, "--redis-url", redis_url)
    done = usance("invoice", "--once", "--now", "2025-02-01T00:00:00Z", *servers)

    assert (done.returncode, done.stdout) == (0, "0 billing schedules were due.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("invoice", "--now", "2025-02-01T00:00:00Z"), "--now goes with --once"),
        (("invoice", "--once", "--now", "yesterday"), "'yesterday' is no instant"),
        (("invoice", "--once", "--now", "2025-02-01T00:00:00"), "has no offset"),
        (("up", "--port", "http"), "USANCE_PORT: 'http' is not allowed"),
    ],
)
def test_a_wrong_option_is_explained(arguments: tuple[str, ...], message: str) -> None:
    servers = () if arguments[0] == "up" else ("--database-url", "postgresql:///x", "--redis-url", "unix:///x")
    done = usance(*arguments, *servers)

    assert done.returncode == EXIT_CANNOT_START
    assert message in done.stderr


@pytest.mark.parametrize("command", ["serve", "aggregate", "invoice", "migrate", "verify"])
def test_a_part_without_servers_says_how_to_name_them(tmp_path: Path, command: str) -> None:
    done = usance(command, "--data-dir", str(tmp_path))

    assert done.returncode == EXIT_CANNOT_START
    assert "start `usance up` there" in done.stderr


def test_a_port_in_use_is_explained(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = usance("up", "--data-dir", str(tmp_path / "data"), "--port", str(taken.getsockname()[1]))

    assert done.returncode == EXIT_CANNOT_START
    assert "Address already in use; choose another with --port" in done.stderr


def test_a_folder_that_cannot_hold_data_is_explained() -> None:
    done = usance("up", "--data-dir", "/proc/usance", "--port", "0")

    assert done.returncode == EXIT_CANNOT_START
    assert "the data folder /proc/usance cannot be used" in done.stderr


def test_a_database_that_refuses_us_is_explained(tmp_path: Path, redis_url: str, database_url: str) -> None:
    wrong = database_url.replace("usance@", "nobody-we-know@")
    done = usance(
        *("up", "--data-dir", str(tmp_path), "--port", "0", "--database-url", wrong, "--redis-url", redis_url)
    )

    assert done.returncode == EXIT_CANNOT_START
    assert "the database refuses us" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="about running as root")
@pytest.mark.parametrize("forbid", [False, True], ids=["namespaces", "no namespaces"])
def test_root_under_a_closed_home_loosens_nothing(tmp_path: Path, start: Start, forbid: bool) -> None:
    through = (sys.executable, ROOT / "tests/forbid_namespaces.py") if forbid else ()
    (tmp_path / "home").mkdir(mode=0o700)
    run = start(folder=tmp_path / "home", through=through).ready()
    answer = run.ask("/ready")
    run.stop()
    elsewhere = [link.resolve() for link in (tmp_path / "home/data").rglob("elsewhere")]
    folders = [tmp_path / "home", *elsewhere]
    is_open = [path for path in (tmp_path / "home/data").rglob("*") if path.stat().st_mode & 0o077]
    modes = {oct(folder.stat().st_mode)[-3:] for folder in folders}
    for folder in elsewhere:
        shutil.rmtree(folder)

    assert b"ready" in answer
    assert (modes, is_open, len(elsewhere)) == ({"700"}, [], 2 if forbid else 0)


def usance(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-m", "usance.cli", *arguments]
    return subprocess.run(
        program, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT, env=clean_environment()
    )


def clean_environment(**own: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("USANCE_")} | own


async def set_revision(url: str, revision: str) -> None:
    conn = await asyncpg.connect(url)
    await conn.execute("update alembic_version set version_num = $1", revision)
    await conn.close()


def poll(condition: Callable[[], object], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def answers(run: Up, path: str, *, with_word: bytes) -> bool:
    try:
        return with_word in run.ask(path)
    except (URLError, ConnectionError, TimeoutError):
        return False


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> list[int]:
    """Every process that it started, and what those started."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(parent, []).append(int(status.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found[1:]
