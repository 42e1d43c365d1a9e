"""Run a command as root where user namespaces are forbidden, as in many containers: `forbid_namespaces.py COMMAND...`.

Root of a user namespace that maps every user to itself: almost the real one, but its limit of namespaces is its own to
set, to zero. Needs real root.
"""

import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_EVERYBODY = "0 0 65536"


def main(command: list[str]) -> None:
    """The original process becomes the command, so that signals and the exit code are the command's own."""
    ours, theirs = os.pipe(), os.pipe()
    pid = os.getpid()
    if os.fork() == 0:
        # Only somebody outside, with root's rights, may map more than one user.
        os.read(ours[0], 1)
        Path(f"/proc/{pid}/uid_map").write_text(_EVERYBODY, encoding="ascii")
        Path(f"/proc/{pid}/gid_map").write_text(_EVERYBODY, encoding="ascii")
        os.write(theirs[1], b".")
        os._exit(0)
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER) != 0:
        raise SystemExit("cannot make a user namespace")
    os.write(ours[1], b".")
    os.read(theirs[0], 1)
    os.wait()
    os.setgid(0)
    os.setuid(0)
    Path("/proc/sys/user/max_user_namespaces").write_text("0", encoding="ascii")
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
