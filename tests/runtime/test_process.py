"""Loops and processes: repeat, wait, fail, stop."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from runtime import process

NEVER_SECONDS = 3600.0


def script(*outcomes: int | BaseException, stop: asyncio.Event) -> Callable[[], Awaitable[int]]:
    """A step with these outcomes, one after the other; it sets `stop` with the last."""
    left = list(outcomes)

    async def step() -> int:
        outcome = left.pop(0)
        if not left:
            stop.set()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return step


@pytest.fixture
def stop() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "backoff_seconds", lambda _failures: 0.0)


async def test_there_is_no_pause_while_there_is_work(stop: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await process.serve(script(1, 5, 1, stop=stop), stop, name="test", idle_seconds=NEVER_SECONDS)


async def test_an_idle_loop_looks_again_after_a_while(stop: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await process.serve(script(0, 0, 0, stop=stop), stop, name="test", idle_seconds=0.001)


async def test_the_pause_may_follow_from_what_was_done(stop: asyncio.Event) -> None:
    seen: list[int] = []

    def seconds(done: int) -> float:
        seen.append(done)
        return 0.001

    async with asyncio.timeout(5):
        await process.serve(script(1, 7, 5, 0, stop=stop), stop, name="test", idle_seconds=seconds, full=6)

    assert seen == [1, 5, 0]


async def test_a_wake_up_ends_the_pause_once(stop: asyncio.Event) -> None:
    wake = asyncio.Event()
    wake.set()
    async with asyncio.timeout(5):
        await process.serve(script(0, 0, stop=stop), stop, name="test", idle_seconds=NEVER_SECONDS, wake=wake)

    assert not wake.is_set()


async def test_stop_ends_the_pause(stop: asyncio.Event) -> None:
    loop = asyncio.create_task(
        process.serve(script(0, 0, stop=asyncio.Event()), stop, name="test", idle_seconds=NEVER_SECONDS)
    )
    await asyncio.sleep(0)
    stop.set()

    async with asyncio.timeout(5):
        await loop


@pytest.mark.usefixtures("no_backoff")
async def test_a_failing_step_is_logged_once_and_repeated(stop: asyncio.Event) -> None:
    with capture_logs() as lines:
        await process.serve(
            script(ValueError("first"), OSError("second"), 1, stop=stop), stop, name="test", idle_seconds=0.0
        )

    assert [(line["action"], line["attempt"]) for line in lines] == [("test", 1), ("test", 2)]
    assert "ValueError: first" in lines[0]["error"]
    assert lines[1]["error"] == "OSError: second"


async def test_stop_ends_the_pause_after_a_failure(stop: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "backoff_seconds", lambda _failures: NEVER_SECONDS)
    async with asyncio.timeout(5):
        await process.serve(script(ValueError("last"), stop=stop), stop, name="test", idle_seconds=0.0)


async def test_cancellation_is_not_swallowed(stop: asyncio.Event) -> None:
    with pytest.raises(asyncio.CancelledError):
        await process.serve(script(asyncio.CancelledError(), 1, stop=stop), stop, name="test", idle_seconds=0.0)


def test_the_pause_after_failures_doubles_up_to_a_bound() -> None:
    first, tenth, thousandth = (process.backoff_seconds(failures) for failures in (1, 10, 1000))

    assert 0.1 <= first <= 0.2
    assert 7.5 <= tenth <= 15
    assert 7.5 <= thousandth <= 15


PROGRAM = """
import asyncio
from runtime import process
{body}
process.run(main, stop_seconds=0.3)
"""


def run(body: str, *, wish: signal.Signals | None = signal.SIGTERM) -> tuple[int, str, float]:
    """Run a main until it says `up`, send the signal; answers exit code, output and seconds from there."""
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert running.stdout is not None
    with running:
        assert running.stdout.readline() == "up\n"
        started = time.monotonic()
        if wish is not None:
            running.send_signal(wish)
        said = running.stdout.read()
        return running.wait(10), said, time.monotonic() - started


@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_it_finish(wish: signal.Signals) -> None:
    code, said, _ = run(
        "async def main(stop):\n"
        "    print('up', flush=True); await stop.wait(); await asyncio.sleep(0.1); print('done')",
        wish=wish,
    )

    assert (code, said) == (0, "done\n")


def test_what_does_not_finish_in_time_is_cancelled() -> None:
    code, said, seconds = run(
        "async def main(stop):\n"
        "    print('up', flush=True)\n"
        "    try: await asyncio.sleep(60)\n"
        "    finally: print('rolled back', flush=True)"
    )

    assert code == 0
    assert "rolled back" in said
    assert seconds < 5


def test_an_error_ends_the_process_with_itself() -> None:
    code, said, _ = run("async def main(stop):\n    print('up', flush=True); raise ValueError('boom')", wish=None)

    assert code == 1
    assert "ValueError: boom" in said


def test_one_dead_loop_of_a_group_ends_the_process() -> None:
    code, said, _ = run(
        "async def dies(): raise ValueError('boom')\n"
        "async def main(stop):\n"
        "    print('up', flush=True)\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(dies()); group.create_task(stop.wait())",
        wish=None,
    )

    assert code == 1
    assert "ValueError: boom" in said


def test_a_process_whose_loop_does_not_turn_ends_and_says_where() -> None:
    code, said, seconds = run(
        "import time\n"
        "def for_ever():\n"
        "    while True: time.sleep(0.01)\n"
        "async def main(stop):\n"
        "    watching = asyncio.create_task(process.watch(stop, turn_seconds_max=0.5))\n"
        "    await asyncio.sleep(0); print('up', flush=True)\n"
        "    for_ever()",
        wish=None,
    )

    assert code == 1
    assert "in for_ever" in said
    assert seconds < 5


def test_a_process_whose_loop_turns_lives() -> None:
    code, said, seconds = run(
        "async def main(stop):\n"
        "    watching = asyncio.create_task(process.watch(stop, turn_seconds_max=0.3))\n"
        "    await asyncio.sleep(0); print('up', flush=True)\n"
        "    await asyncio.sleep(1); stop.set(); await watching\n"
        "    # Nobody watches any more.\n"
        "    import time; time.sleep(0.6); print('done')",
        wish=None,
    )

    assert (code, said) == (0, "done\n")
    assert seconds > 1


def test_an_ignored_signal_stays_ignored() -> None:
    code, said, _ = run(
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "async def main(stop):\n"
        "    print('up', flush=True); os.kill(os.getpid(), signal.SIGHUP)\n"
        "    await asyncio.sleep(0.05); print(stop.is_set())",
        wish=None,
    )

    assert (code, said) == (0, "False\n")
