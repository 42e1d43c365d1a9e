"""Processes of the benchmark's own, that run the code it runs itself and end when it ends."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, cast

import usance
from runtime import identity
from runtime.settings import Settings

Output = IO[bytes] | int | None


def start(
    *words: str,
    settings: Settings | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: Output = None,
    stderr: Output = None,
    tree: Path | None = None,
) -> "subprocess.Popen[bytes]":
    """Start `python -m` with these words. `tree`: where our packages are taken from, if not from where this file is."""
    return subprocess.Popen(  # noqa: S603 our own programs
        identity.command(
            identity.Same(), (sys.executable, "-P", "-m", *words), folder=None, death_signal=signal.SIGTERM
        ),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        # Never from where the caller happens to stand; and for the children's children, too.
        env=(settings or Settings()).environment() | {"PYTHONPATH": str(tree or Path(usance.__file__).parents[1])},
        # Ctrl-C is for the benchmark, which stops its processes in order.
        start_new_session=True,
    )


def port(process: "subprocess.Popen[bytes]") -> int:
    """The port that a server of ours says first of all."""
    return int(cast("IO[bytes]", process.stdout).readline())


def end(process: "subprocess.Popen[bytes]", *, seconds: float) -> None:
    """Ask it to stop, wait, insist."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
