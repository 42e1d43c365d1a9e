"""The life of one embedded server process: lock, launch, ready, stop.

A lock file is flock'ed before the launch and its descriptor handed to the server, which hands it on to its own
children: the lock lives exactly as long as the last of them. So two servers never share a folder, and a pid file found
while holding the lock is stale, whoever has that number today.

Launch from the main thread: the kernel ties the server's life to the thread that started it.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from runtime import identity
from runtime.errors import EmbeddedError, StillRunning
from runtime.identity import Place

POLL_SECONDS = 0.005
# A predecessor whose supervisor was killed is stopping by itself; a large one writes its last checkpoint.
_LOCK_SECONDS_MAX = 30.0
# Recovery after a crash reads Postgres' log since the last checkpoint, and Valkey's whole file.
_READY_SECONDS_MAX = 600.0
_ESCALATE_SECONDS = 1.0
_LOG_BYTES_MAX = 10_000_000
_LOG_TAIL_BYTES = 2_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is fixed before a server starts."""

    name: str
    url: str
    place: Place
    arguments: tuple[str, ...]
    is_ready: Callable[[], bool]
    # From the friendliest on; the first is also what the kernel sends when we die.
    stop_signals: tuple[signal.Signals, ...]
    # What a run that was killed may have left, removed before the next.
    stale: tuple[Path, ...] = ()
    # Where its sockets are; a folder of their own goes with them.
    sockets: Path


class Server:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.url = plan.url
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id; 0 when it was never launched."""
        return self.process.pid if self.process else 0

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start the process; StillRunning while another holds the folder."""
        folder, who, death_signal = self.plan.place.folder, self.plan.place.identity, self.plan.stop_signals[0]
        with _locked(folder, self.plan.name) as lock, _log(folder) as log:
            for path in self.plan.stale:
                path.unlink(missing_ok=True)
            self.process = subprocess.Popen(  # noqa: S603 - our own programs
                identity.command(who, self.plan.arguments, folder=folder, death_signal=death_signal),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={},
                pass_fds=(lock,),
                # Ctrl-C at the terminal is for the supervisor, which stops things in order.
                start_new_session=True,
            )
        return self.process

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def is_ready(self) -> bool:
        """Whether it answers; EmbeddedError with the end of its log if it has ended instead."""
        if not self.is_alive():
            raise EmbeddedError(
                f"the embedded {self.plan.name} did not start. The end of {_log_path(self.plan.place.folder)}:\n"
                + _log_tail(self.plan.place.folder)
            )
        return self.plan.is_ready()

    def stop(self, seconds: float = 10.0) -> None:
        """Stop it within about `seconds`; if need be the hard way, which costs a recovery at the next start."""
        if self.process is None:
            return
        for wish in (*self.plan.stop_signals, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(wish)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                break
            seconds = _ESCALATE_SECONDS
        if self.plan.sockets != self.plan.place.folder:
            shutil.rmtree(self.plan.sockets, ignore_errors=True)


def start(plan: Plan) -> Server:
    """Launch and wait until it answers."""
    server = Server(plan)
    for _ in starting(server):
        time.sleep(POLL_SECONDS)
    return server


def starting(server: Server) -> Iterator[None]:
    """The steps of a start: launch, then yield as long as there is to wait. The caller sleeps POLL_SECONDS his way."""
    name, deadline = server.plan.name, time.monotonic() + _LOCK_SECONDS_MAX
    while True:
        try:
            server.launch()
            break
        except StillRunning:
            if time.monotonic() > deadline:
                raise
        yield
    deadline = time.monotonic() + _READY_SECONDS_MAX
    while not server.is_ready():
        if time.monotonic() > deadline:
            server.stop()
            raise EmbeddedError(f"the embedded {name} was not ready after {_READY_SECONDS_MAX:.0f} s")
        yield


@contextlib.contextmanager
def _locked(folder: Path, name: str) -> Iterator[int]:
    # Our descriptor is closed at the end; the server's copy keeps the lock.
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError as exc:
        raise StillRunning(f"another {name} is still running in {folder}") from exc
    finally:
        os.close(lock)


@contextlib.contextmanager
def _log(folder: Path) -> Iterator[int]:
    path = _log_path(folder)
    if path.exists() and path.stat().st_size > _LOG_BYTES_MAX:
        path.rename(path.with_suffix(".log.1"))
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield log
    finally:
        os.close(log)


def _log_path(folder: Path) -> Path:
    return folder / "server.log"


def _log_tail(folder: Path) -> str:
    return _log_path(folder).read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
