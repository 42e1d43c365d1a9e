"""A child is started again when it ends, later each time, unless it says that this cannot help."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from runtime import child
from runtime.child import EXIT_CANNOT_START, Child
from runtime.errors import StartError

SECONDS_MAX = 10


@pytest.fixture
def made() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def make(program: str, **options: int) -> Child:
        children.append(
            Child("test", lambda: subprocess.Popen([sys.executable, "-c", program]), **options)  # type: ignore[arg-type]
        )
        children[-1].start()
        return children[-1]

    yield make
    for one in children:
        one.kill()


def tend_until(one: Child, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        one.tend()
        time.sleep(0.005)


def test_a_killed_child_is_started_again(made: Callable[..., Child]) -> None:
    one = made("import time; time.sleep(60)")
    first = one.pid
    os.kill(first, signal.SIGKILL)

    tend_until(one, lambda: one.is_alive() and one.pid != first)


def test_a_child_that_keeps_ending_waits_longer_each_time(
    made: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(child.process, "backoff_seconds", lambda failures: asked.append(failures) or 0.0)
    one = made("")

    tend_until(one, lambda: len(asked) == 3)
    assert asked == [1, 2, 3]


def test_a_child_that_had_recovered_starts_from_the_shortest_wait(
    made: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(child.process, "backoff_seconds", lambda failures: asked.append(failures) or 0.0)
    monkeypatch.setattr(child, "_STEADY_SECONDS", 0.0)
    one = made("")

    tend_until(one, lambda: len(asked) == 2)
    assert asked == [1, 1]


def test_a_child_that_cannot_be_launched_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child.process, "backoff_seconds", lambda _failures: 0.0)
    tries: list[str] = []

    def launch() -> "subprocess.Popen[bytes]":
        tries.append("try")
        raise OSError

    one = Child("test", launch)
    one.start()

    tend_until(one, lambda: len(tries) == 3)


def test_a_child_that_refuses_to_start_ends_everything(made: Callable[..., Child]) -> None:
    one = made(f"raise SystemExit({EXIT_CANNOT_START})", final_exit_code=EXIT_CANNOT_START)

    with pytest.raises(StartError, match="refused to start"):
        tend_until(one, lambda: False)


def test_killing_waits_for_the_end(made: Callable[..., Child]) -> None:
    one = made("import time; time.sleep(60)")
    one.kill()

    assert one.exit_code == -signal.SIGKILL


def test_a_child_of_ours_dies_with_us() -> None:
    program = "import os, sys; from runtime import child; from runtime.settings import Settings\n"
    program += "launch = child.launch_python(['up', '--help'], environment=Settings().environment())\n"
    program += "print(launch().wait(), flush=True)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("0\n")
