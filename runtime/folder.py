"""The data folder: made, tried, held by one supervisor, and telling others where the servers are.

    run/lock             flock'ed as long as `usance up` works here
    run/endpoints.json   the addresses of what it runs, for the other commands
    run/metrics/         the metrics that its processes share
    postgres/ valkey/    the embedded servers' folders (runtime.embedded)

All of it is closed to everybody else.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from runtime.errors import AlreadyRunning, FolderError

# A new cluster takes 60 MB, and its log grows by 16 MB at a time.
_FREE_BYTES_MIN = 200_000_000
_TRY_BYTES = 1_000_000
# Somebody may be asking at this moment whether we run; that takes no longer.
_LOCK_SECONDS_MAX = 1.0
_POLL_SECONDS = 0.02


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parts of a running Usance answer. The URLs may hold passwords: the file is closed."""

    database_url: str
    redis_url: str
    http_url: str
    pid: int


def prepare(data_dir: Path) -> Path:
    """Make the folder, and find out now whether it can hold data; answer its absolute path."""
    data_dir = data_dir.absolute()
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(data_dir / "run")
        _try(data_dir)
    except OSError as exc:
        raise FolderError(_explain(data_dir, exc)) from exc
    return data_dir


@contextlib.contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Keep every other supervisor out, until the end of the block or of the process."""
    lock = _open_lock(data_dir)
    deadline = time.monotonic() + _LOCK_SECONDS_MAX
    try:
        while not _locked(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise AlreadyRunning(_who_runs(data_dir))
            time.sleep(_POLL_SECONDS)
        (data_dir / "run/endpoints.json").unlink(missing_ok=True)
        yield
        (data_dir / "run/endpoints.json").unlink(missing_ok=True)
    finally:
        os.close(lock)


def publish(data_dir: Path, endpoints: Endpoints) -> None:
    """Tell the other commands where the servers are."""
    path = data_dir / "run/endpoints.json"
    making = path.with_suffix(".new")
    making.touch(mode=0o600)
    making.write_bytes(msgspec.json.encode(endpoints) + b"\n")
    _give_to_owner(making)
    making.rename(path)


def find(data_dir: Path) -> Endpoints | None:
    """The addresses of the Usance that runs in this folder; None when none does, or not yet."""
    try:
        lock = _open_lock(data_dir)
        try:
            if _locked(lock, fcntl.LOCK_SH):
                return None  # what the file says is left over from one that was killed
        finally:
            os.close(lock)
        return _read(data_dir)
    except FileNotFoundError:
        return None


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    _give_to_owner(folder)


def _try(data_dir: Path) -> None:
    """Write for real: a full or failing disk shows only when the bytes must reach it."""
    path = data_dir / "run/try"
    try:
        with path.open("wb") as file:
            file.write(bytes(_TRY_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)
    status = os.statvfs(data_dir)
    if status.f_bavail * status.f_frsize < _FREE_BYTES_MIN:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(data_dir))


def _explain(data_dir: Path, error: OSError) -> str:
    remedy = "choose another with --data-dir"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            remedy = f"free at least {_FREE_BYTES_MIN // 1_000_000} MB there, or {remedy}"
        case errno.EROFS:
            remedy = f"mount it for writing, or {remedy}"
        case errno.EACCES | errno.EPERM:
            remedy = f"run as the user who owns it, or {remedy}"
    where = error.filename if error.filename and str(error.filename) != str(data_dir) else ""
    return f"the data folder {data_dir} cannot be used: {error.strerror}{f' ({where})' if where else ''}; {remedy}"


def _open_lock(data_dir: Path) -> int:
    path = data_dir / "run/lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as exc:
        raise FolderError(_explain(data_dir, exc)) from exc
    _give_to_owner(path)
    return lock


def _locked(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _who_runs(data_dir: Path) -> str:
    try:
        found = _read(data_dir)
    except FileNotFoundError:
        return f"Usance is starting or stopping in {data_dir} at this moment: wait, or choose another --data-dir"
    return (
        f"Usance is running in {data_dir} already: {found.http_url}, process {found.pid}. "
        f"Stop it with `kill {found.pid}`, or choose another --data-dir"
    )


def _read(data_dir: Path) -> Endpoints:
    return msgspec.json.decode((data_dir / "run/endpoints.json").read_bytes(), type=Endpoints)


def _give_to_owner(path: Path) -> None:
    # Root at work in somebody's folder leaves nothing there that its owner cannot open later.
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
