"""As whom an embedded server runs, in which folder, with which copy of its programs.

Postgres refuses to be root, and initdb wants a name for its user. So a server runs as one of

    Same        the user we are: the plain case
    Namespace   the user we are, seen from inside as another (root, or a user without a name): a user namespace; files
                stay ours and closed to everybody else, and no second user is needed
    Account     another user for good: whoever owns the folder, or `nobody` where namespaces are forbidden

`nobody` may be unable to reach the folder or the programs (a project under a 0700 home). Then they live in a folder of
its own under /var/lib/usance or /var/tmp/usance, and `elsewhere` in the server's folder points there. Nothing outside
our folders is loosened.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from runtime import launch
from runtime.errors import NoIdentity

_LAUNCH = str(Path(launch.__file__).resolve())
# Ours by name and by mode: 0711, so that a server's user passes through and sees nothing.
_HOMES = (Path("/var/lib/usance"), Path("/var/tmp/usance"))  # noqa: S108
# What a data folder of ours holds. A folder with anything else in it is not ours to open, not even to pass through.
_OURS = {"run", "postgres", "valkey", "imports"}
_PROBE_SECONDS = 20


class Same(msgspec.Struct, frozen=True):
    """The user we are."""


class Namespace(msgspec.Struct, frozen=True):
    """The user we are, seen from inside as another."""

    uid: int
    gid: int


class Account(msgspec.Struct, frozen=True):
    """Another user."""

    uid: int
    gid: int


Identity = Same | Namespace | Account


class Programs(msgspec.Struct, frozen=True):
    """Programs as installed. What stands in `parts` is copied where need be; all paths are relative to `root`."""

    root: Path
    folder: str
    probe: str
    parts: tuple[str, ...]


class Place(msgspec.Struct, frozen=True):
    """Who runs a server, in which folder, with the programs of which folder."""

    identity: Identity
    folder: Path
    programs: Path


def settle(folder: Path, programs: Programs) -> Place:
    """Decide for the server that lives in `folder`, which exists. Asked again, the answer is the same."""
    elsewhere = folder / "elsewhere"
    folder = elsewhere.resolve() if elsewhere.exists() else folder
    owner, me, installed = folder.stat().st_uid, os.geteuid(), programs.root / programs.folder
    if me not in {0, owner}:
        raise NoIdentity(f"{folder} belongs to {_name(owner)}: run as that user, or choose another --data-dir")
    if owner == me and me != 0 and _has_name(me):
        return Place(Same(), folder, installed)
    if owner == me:
        inside = _unprivileged()
        place = Place(Namespace(inside.pw_uid, inside.pw_gid), folder, installed)
        if _can_run(place, programs.probe):
            return place
        if me != 0:
            raise NoIdentity(
                f"user id {me} has no name in /etc/passwd, which initdb needs, and user namespaces are forbidden here: "
                "run as a named user, or give --database-url and --redis-url of real servers"
            )
        owner = inside.pw_uid
    return _as_account(folder, programs, account=_account(owner))


def command(
    identity: Identity, program: Sequence[str | Path], *, folder: Path | None, death_signal: signal.Signals
) -> list[str]:
    """The command line that runs `program` as `identity` in `folder` (None: here), and signals it when we die."""
    match identity:
        case Same():
            who = ("same", 0, 0)
        case Namespace(uid, gid):
            who = ("namespace", uid, gid)
        case Account(uid, gid):
            who = ("account", uid, gid)
    return [
        sys.executable,
        "-I",
        "-S",
        _LAUNCH,
        *map(str, (*who, folder or "-", int(death_signal), os.getpid(), *program)),
    ]


def own(path: Path, identity: Identity) -> None:
    """Give a file or folder that we made to the server's user."""
    if isinstance(identity, Account):
        os.chown(path, identity.uid, identity.gid)


def make_folder(path: Path, identity: Identity) -> Path:
    """A closed folder of the server's user."""
    path.mkdir(mode=0o700, exist_ok=True)
    own(path, identity)
    return path


def _as_account(folder: Path, programs: Programs, *, account: Account) -> Place:
    # Root only. The folder first, because a copy of the programs goes into it.
    folder = _reachable_folder(folder, account)
    place = Place(account, folder, programs.root / programs.folder)
    if _can_run(place, programs.probe):
        return place
    place = Place(account, folder, _copy(programs, place) / programs.folder)
    if _can_run(place, programs.probe):
        return place
    raise NoIdentity(
        f"neither a user namespace nor user {_name(account.uid)} can run {programs.probe} in {folder}: "
        "run as an ordinary user, or give --database-url and --redis-url of real servers"
    )


def _reachable_folder(folder: Path, account: Account) -> Path:
    data_dir, mode, owner = folder.parent, folder.parent.stat().st_mode & 0o777, folder.stat()
    os.chown(folder, account.uid, account.gid)
    is_reached = _can_enter(folder, account)
    if not is_reached and {entry.name for entry in data_dir.iterdir()} <= _OURS:
        data_dir.chmod(mode | 0o011)
        is_reached = _can_enter(folder, account)
        if not is_reached:
            data_dir.chmod(mode)
    if is_reached:
        # One that was made in namespace days is root's from top to bottom.
        for path in _tree(folder):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        return folder
    os.chown(folder, owner.st_uid, owner.st_gid)
    return _folder_elsewhere(folder, account)


def _folder_elsewhere(folder: Path, account: Account) -> Path:
    if any(folder.iterdir()):
        raise NoIdentity(
            f"user {_name(account.uid)}, who would run the server, cannot reach {folder}, which holds data already: "
            "move the data folder to where every user may pass, or run as the user who made it"
        )
    # By chance and not after the data folder: one that was removed and made again must not find its old data.
    name = secrets.token_hex(8)
    for home in _HOMES:
        try:
            home.mkdir(mode=0o711, exist_ok=True)
            if home.is_symlink() or home.stat().st_uid != 0:
                continue
            home.chmod(0o711)
            there = make_folder(home / name, account)
        except OSError:
            continue  # a read-only /var is no reason to give up
        if _can_enter(there, account):
            (folder / "elsewhere").symlink_to(there)
            return there
    raise NoIdentity(
        f"user {_name(account.uid)}, who would run the server, can reach neither {folder} nor one of {_HOMES}"
    )


def _tree(folder: Path) -> Iterable[Path]:
    yield folder
    yield from folder.rglob("*")


def _copy(programs: Programs, place: Place) -> Path:
    """The parts of the programs, at the same relative places, in the server's folder; made once per release."""
    status = (place.programs / programs.probe).stat()
    target = place.folder / f"programs-{status.st_size}-{int(status.st_mtime)}"
    if target.exists():
        return target
    making = place.folder / "programs.new"
    shutil.rmtree(making, ignore_errors=True)
    for part in programs.parts:
        source, destination = programs.root / part, making / part
        destination.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, destination, symlinks=True)
        elif source.exists():
            shutil.copy2(source, destination)
    for path in _tree(making):
        own(path, place.identity)
    for old in place.folder.glob("programs-*"):
        shutil.rmtree(old, ignore_errors=True)
    return making.rename(target)


def _can_run(place: Place, probe: str) -> bool:
    return _succeeds(place.identity, [place.programs / probe, "--version"], folder=place.folder)


def _can_enter(folder: Path, account: Account) -> bool:
    return _succeeds(account, [], folder=folder)


def _succeeds(identity: Identity, program: Sequence[str | Path], *, folder: Path) -> bool:
    done = subprocess.run(  # noqa: S603 - our own programs
        command(identity, program, folder=folder, death_signal=signal.SIGKILL),
        capture_output=True,
        env={},
        check=False,
        timeout=_PROBE_SECONDS,
    )
    return done.returncode == 0


def _unprivileged() -> pwd.struct_passwd:
    users = {user.pw_name: user for user in pwd.getpwall() if user.pw_uid != 0}
    if not users:
        raise NoIdentity("/etc/passwd names no user but root, and Postgres refuses to be root")
    return users.get("nobody") or min(users.values(), key=lambda user: user.pw_name)


def _account(uid: int) -> Account:
    try:
        return Account(uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:
        raise NoIdentity(
            f"the data folder belongs to user id {uid}, who has no name in /etc/passwd: give it to a named user"
        ) from None


def _has_name(uid: int) -> bool:
    return _name(uid) != f"user id {uid}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
