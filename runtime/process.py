"""How a process lives: `run` gives it signals and an end, `serve` repeats a loop's step.

A loop is a `step()` that does one bounded batch and answers how much it did. `serve` repeats it until `stop` is set: at
once while there is much to do, else after the wake-up or the idle time. A failing step is logged once, and the next
attempt waits longer each time, with jitter, so that many processes do not come back at the same moment.

SIGTERM, SIGINT and a hung-up terminal set `stop`; what is in the middle of a batch finishes it. What has not finished
after the bound is cancelled: the transaction rolls back, and the next start does it again.

Whatever a step waits for has a time-out. A step that computes for ever lets nothing else in its process happen, so
nothing in Python could notice: `watch` has a thread of the interpreter end such a process.
"""

import asyncio
import contextlib
import faulthandler
import gc
import random
import signal
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import structlog
import uvloop

from runtime import telemetry

log = structlog.get_logger(__name__)

Step: TypeAlias = Callable[[], Awaitable[int]]
Main: TypeAlias = Callable[[asyncio.Event], Coroutine[Any, Any, None]]

_BACKOFF_SECONDS_MIN = 0.2
_BACKOFF_SECONDS_MAX = 15.0
_OBJECTS_BETWEEN_LOOKS = 100_000
# After a cancellation only the closing of connections is left.
_CLEAN_UP_SECONDS = 0.5
# No step computes for a second between two turns of the loop.
_TURN_SECONDS_MAX = 300.0
_STDERR = 2


async def serve(
    step: Step,
    stop: asyncio.Event,
    *,
    name: str,
    idle_seconds: float | Callable[[int], float],
    full: int = 1,
    wake: asyncio.Event | None = None,
) -> None:
    """Repeat `step` until `stop`: at once if it did at least `full`, else after the idle time; `wake` ends it.

    The idle time may follow from how much was done.
    """
    failures = 0
    while not stop.is_set():
        try:
            done = await step()
        except Exception as exc:  # noqa: BLE001 - whatever a batch ran into, the loop outlives it; cancellation passes
            failures += 1
            telemetry.STEPS_FAILED.labels(name).inc()
            seconds = backoff_seconds(failures)
            retry = round(seconds, 2)
            log.warning("step failed", action=name, attempt=failures, retry_seconds=retry, error=describe(exc))
            await wait_for_any(stop, seconds=seconds)
            continue
        failures = 0
        if done < full:
            seconds = idle_seconds(done) if callable(idle_seconds) else idle_seconds
            await wait_for_any(stop, *([wake] if wake else []), seconds=seconds)
            if wake:
                wake.clear()


async def watch(stop: asyncio.Event, *, turn_seconds_max: float = _TURN_SECONDS_MAX) -> None:
    """Until `stop`: end the process, and say where it was, if its loop does not turn for so long."""
    try:
        while not stop.is_set():
            faulthandler.dump_traceback_later(turn_seconds_max, exit=True, file=_STDERR)
            await wait_for_any(stop, seconds=turn_seconds_max / 10)
    finally:
        faulthandler.cancel_dump_traceback_later()


def run(main: Main, *, stop_seconds: float) -> None:
    """Run `main` to its end on uvloop; its error, if it has one, comes out as it is."""
    # What is loaded stays; of the rest hardly anything is part of a cycle, and looking for cycles in a batch of events
    # costs a fifth of the time that it takes to count it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS, *gc.get_threshold()[1:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_stopped(main, stop_seconds))


async def _until_stopped(main: Main, stop_seconds: float) -> None:
    stop = asyncio.Event()
    listen_to_signals(stop)
    task = asyncio.create_task(main(stop), name="main")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await asyncio.wait({task}, timeout=stop_seconds)
    if not task.done():
        log.warning("not finished in time, cancelled", action="stop", stop_seconds=stop_seconds)
        task.cancel()
        await asyncio.wait({task}, timeout=_CLEAN_UP_SECONDS)
    with contextlib.suppress(asyncio.CancelledError):
        if task.done():
            task.result()


def listen_to_signals(stop: asyncio.Event) -> None:
    """Let SIGTERM, SIGINT and SIGHUP set `stop`; call it inside the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Started by nohup, or in the background of a script: a signal that is ignored stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)


async def wait_for_any(*events: asyncio.Event, seconds: float) -> None:
    """Wait until one of the events is set, or the time is over."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def backoff_seconds(failures: int) -> float:
    """How long to wait after that many failures in a row: doubling up to a bound, the second half by chance."""
    longest: float = min(_BACKOFF_SECONDS_MAX, _BACKOFF_SECONDS_MIN * 2 ** min(failures - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, protects nothing


def describe(error: BaseException) -> str:
    """The error in one field: the whole traceback for our bugs, one line when the world was away."""
    if isinstance(error, OSError | TimeoutError):
        return f"{type(error).__name__}: {error}"
    return "".join(traceback.format_exception(error)).strip()
