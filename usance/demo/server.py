"""The demo's own Usance: `usance up` in a temporary folder, as a process of its own, and gone with the demo.

It runs through runtime/launch.py, so that it ends even when the demo is killed.
"""

import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar, Self

from runtime import folder, identity
from runtime.folder import Endpoints
from runtime.settings import Settings

READY_SECONDS_MAX = 45
STOP_SECONDS_MAX = 15
_LOG_LINES_SHOWN = 15


class ServerError(Exception):
    """`usance up` did not start; its last words follow."""

    code: ClassVar[str] = "DEMO_SERVER"


class DemoServer:
    """A context manager: up on the way in, down and its folder removed on the way out."""

    def __init__(self) -> None:
        self.client_id = "demo"
        self.client_secret = secrets.token_urlsafe(24)
        self.folder = Path(tempfile.mkdtemp(prefix="usance-demo-"))
        self._log = self.folder / "up.log"

    def __enter__(self) -> Self:
        settings = Settings(
            data_dir=self.folder / "data",
            port=0,
            client_id=self.client_id,
            client_secret=self.client_secret,
            log_level="warning",
        )
        command = identity.command(
            identity.Same(),
            (sys.executable, "-P", "-m", "usance.cli", "up"),
            folder=None,
            death_signal=signal.SIGTERM,
        )
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own command)
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=settings.environment(),
                # Ctrl-C is for the demo, which stops the server in its turn.
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def endpoints(self) -> Endpoints:
        """Where it can be reached, as soon as it can."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError(f"`usance up` ended with {self._process.returncode}.\n{self.last_words()}")
            found = folder.find(self.folder / "data")
            if found is not None:
                return found
            time.sleep(0.02)
        raise ServerError(f"`usance up` was not ready after {READY_SECONDS_MAX} s.\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])

    def wait(self) -> int:
        """Stays until the server ends by itself; Ctrl-C interrupts."""
        return self._process.wait()
