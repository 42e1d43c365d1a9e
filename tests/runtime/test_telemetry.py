"""What a process says: lines as JSON, metrics of all processes in one place."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from runtime import telemetry
from runtime.settings import Settings

SAY = """
import logging, structlog
from decimal import Decimal
from runtime import telemetry
from runtime.settings import Settings
telemetry.configure_logging(Settings(), process="test")
log = structlog.get_logger("x")
{body}
"""
COUNT = "from runtime import telemetry; telemetry.EVENTS_COUNTED.inc({events}); print(telemetry.exposition().decode())"


def lines(body: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", SAY.format(body=body)], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()]


def count(events: int, *, process: str, folder: Path) -> str:
    environment = Settings(metrics_dir=folder).environment(process=process)
    program = [sys.executable, "-c", COUNT.format(events=events)]
    return subprocess.run(program, capture_output=True, text=True, check=True, env=environment).stdout


def test_a_line_is_json_with_its_fields() -> None:
    [line] = lines("log.info('counted', action='aggregate', events=3, amount=Decimal('1.20'))")

    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "counted",
        "action": "aggregate",
        "events": 3,
        "amount": "1.20",
        "level": "info",
        "process": "test",
    }


def test_libraries_log_in_the_same_shape() -> None:
    [line] = lines("logging.getLogger('asyncio').error('never retrieved')")

    assert (line["event"], line["logger"], line["process"]) == ("never retrieved", "asyncio", "test")


def test_an_error_brings_its_traceback_in_one_line() -> None:
    [line] = lines("try: 1 / 0\nexcept ZeroDivisionError: log.exception('failed', action='x')")

    assert "ZeroDivisionError" in line["exception"]


def test_the_level_is_a_setting() -> None:
    said = lines("log.debug('unheard')")

    assert said == []


def test_one_process_shows_the_metrics_of_all(tmp_path: Path) -> None:
    count(2, process="one", folder=tmp_path)
    shown = count(3, process="two", folder=tmp_path)

    assert "usance_events_counted_total 5.0" in shown


def test_a_process_that_starts_again_goes_on_counting(tmp_path: Path) -> None:
    count(2, process="one", folder=tmp_path)
    files = set(tmp_path.iterdir())
    shown = count(3, process="one", folder=tmp_path)

    assert "usance_events_counted_total 5.0" in shown
    assert set(tmp_path.iterdir()) == files


def test_a_process_by_itself_shows_its_own() -> None:
    assert b"# HELP usance_events_accepted_total" in telemetry.exposition()
