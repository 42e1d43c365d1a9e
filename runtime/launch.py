"""The last steps of a child before it becomes another program. Run as a script: `python -I -S launch.py ...`.

A separate interpreter instead of a function between fork and exec, because only there nothing else runs: no thread
holds a lock, no library of ours is loaded. Standard library only, no import of ours.

    launch.py MODE UID GID FOLDER SIGNAL PARENT [PROGRAM [ARGUMENT...]]

MODE    same        stay who we are
        namespace   a user namespace of one user in which we are UID and GID: the program does not see root, and files
                    stay those of the real user
        account     become UID and GID for good
FOLDER  is where the program starts; another user must be able to write there. "-" stays where we are
PROGRAM may be missing: then it was only asked whether all that works.
SIGNAL  is sent to the program when PARENT dies (Linux). It is asked for last: changing users forgets it.
"""

import ctypes
import errno
import os
import signal
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
# Loaded here, like every import: the user we become may be unable to read this interpreter's own library.
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Change who we are, tie our life to the parent's, become the program."""
    mode, uid, gid, folder, death_signal, parent, *command = arguments
    os.umask(0o077)
    # The parent may have blocked signals; a program that cannot be stopped would inherit that.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if mode == "namespace":
        _enter_namespace(int(uid), int(gid))
    elif mode == "account":
        _become(int(uid), int(gid))
    if folder != "-":
        _settle_in(folder)
    _die_with(int(parent), int(death_signal))
    if command:
        os.execv(command[0], command)  # noqa: S606 - no shell is the point


def _enter_namespace(uid: int, gid: int) -> None:
    outside_uid, outside_gid = os.geteuid(), os.getegid()
    _libc("unshare", _CLONE_NEWUSER)
    # Without the refusal of setgroups the kernel accepts no gid_map from an unprivileged writer.
    Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")
    Path("/proc/self/uid_map").write_text(f"{uid} {outside_uid} 1", encoding="utf-8")
    Path("/proc/self/gid_map").write_text(f"{gid} {outside_gid} 1", encoding="utf-8")


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _settle_in(folder: str) -> None:
    # By its path and as the new user: a folder inherited from the parent works even where the way to it is barred.
    os.chdir(folder)
    # The capabilities that came with the namespace end at exec; until then the modes alone must do.
    status = Path(folder).stat()
    if status.st_uid != os.geteuid() and not status.st_mode & 0o002:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)


def _die_with(parent: int, death_signal: int) -> None:
    if sys.platform != "linux":
        return
    _libc("prctl", _PR_SET_PDEATHSIG, death_signal)
    # It may have died before we asked.
    if os.getppid() != parent:
        raise SystemExit(1)


def _libc(function: str, *arguments: int) -> None:
    if getattr(_LIBC, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[7] if len(sys.argv) > 7 else 'nothing'}: {error}")
