"""A process that is started again when it ends, a little later each time.

`tend` is called a few times per second by the supervisor; nothing here waits.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from runtime import identity, process
from runtime.errors import EmbeddedError, StartError

log = structlog.get_logger(__name__)

# A process of ours ends with this when starting it again cannot help: wrong settings, wrong schema.
EXIT_CANNOT_START = 2
# Who lived this long has recovered: its next failure counts as the first again.
_STEADY_SECONDS = 30.0
_POLL_SECONDS = 0.01

Launch = Callable[[], "subprocess.Popen[bytes]"]


class Child:
    """One child of the supervisor; `running` is a process of it that was started before."""

    def __init__(
        self,
        name: str,
        launch: Launch,
        *,
        running: "subprocess.Popen[bytes] | None" = None,
        final_exit_code: int | None = None,
    ) -> None:
        self.name = name
        self._launch = launch
        self._process = running
        self._final_exit_code = final_exit_code
        self._started_at = time.monotonic()
        self._restart_at: float | None = None
        self._failures = 0

    @property
    def pid(self) -> int:
        """The process id of the current run; 0 before the first."""
        return self._process.pid if self._process else 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start it now; what stands in the way is a failure like any other."""
        self._started_at = time.monotonic()
        try:
            self._process = self._launch()
        except (EmbeddedError, OSError) as exc:
            self._process = None
            self._failed(repr(exc))
        else:
            log.info("started", action="start", child=self.name, pid=self.pid)

    def tend(self) -> None:
        """Notice its end; start it again when its time has come. StartError if it says that this cannot help."""
        if self._restart_at is not None:
            if time.monotonic() >= self._restart_at:
                self._restart_at = None
                self.start()
            return
        code = self.exit_code
        if code is not None and code == self._final_exit_code:
            raise StartError(f"`usance {self.name}` refused to start; its reason stands above")
        if code is not None:
            self._failed(f"exit code {code}")

    def is_alive(self) -> bool:
        """Whether it runs at this moment."""
        return self._process is not None and self._process.poll() is None

    def send(self, wish: signal.Signals) -> None:
        """Ask it for something, if it is there to ask."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(wish)

    def kill(self) -> None:
        """End it if it is still there, and wait for the end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _failed(self, reason: str) -> None:
        if time.monotonic() - self._started_at > _STEADY_SECONDS:
            self._failures = 0
        self._failures += 1
        seconds = process.backoff_seconds(self._failures)
        self._restart_at = time.monotonic() + seconds
        log.warning("ended", action="restart", child=self.name, reason=reason, retry_seconds=round(seconds, 2))


def launch_python(arguments: Sequence[str], *, environment: Mapping[str, str], keep: Sequence[int] = ()) -> Launch:
    """How to run a command of ours as a child that dies with us; it inherits the descriptors in `keep`."""

    def launch() -> "subprocess.Popen[bytes]":
        # -P: a folder called `api` or `store` where the user happens to stand is not ours.
        program = [sys.executable, "-P", "-m", "usance.cli", *arguments]
        return subprocess.Popen(  # noqa: S603 - our own programs
            identity.command(identity.Same(), program, folder=None, death_signal=signal.SIGTERM),
            stdin=subprocess.DEVNULL,
            env=dict(environment),
            pass_fds=tuple(keep),
            # Ctrl-C at the terminal is for the supervisor, which stops things in order.
            start_new_session=True,
        )

    return launch
