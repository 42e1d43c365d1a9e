"""The real command, with fewer events: what it claims, that it stays up, and that it leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from usance.demo import run
from usance.demo.check import Check

EVENTS = 20_000
SECONDS_MAX = 120
CHECKED = (
    r"✓ Duplicates did not count: \d\d,\d{3} sent, 20,056 unique, 20,056 counted\.",
    r"✓ Counters equal a recount of raw events \(own SQL, one snapshot, [\d,]+ facts\)\.",
    r"✓ Both months are closed: 28 invoices for \w+ and \w+ \d{4}\.",
    r"✓ Invoices equal the demo's own sums: 364 quantities and amounts on 28 invoices\.",
    r"All 4 checks passed in \d+ s, start-up included\.",
)


@contextmanager
def demo(tmp_path: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """The running command; its temporary folder lies in `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "usance.cli", "demo", "--events", str(EVENTS), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env=os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "80"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """What it says up to a line with that text."""
    assert process.stdout is not None
    said = ""
    deadline = time.monotonic() + SECONDS_MAX
    while text not in said:
        line = process.stdout.readline()
        assert line, said
        assert time.monotonic() < deadline, said
        said += line
    return said


def left_behind(tmp_path: Path) -> list[str]:
    """Files, and processes whose command line or environment names the folder."""
    found = [str(path) for path in tmp_path.iterdir()]
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            said = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or is none of ours
            continue
        if f"{tmp_path}/usance-demo-".encode() in said:
            found.append(said.partition(b"\0")[0].decode())
    return found


@pytest.mark.slow
def test_the_demo_checks_itself_and_its_last_lines_say_what(tmp_path: Path) -> None:
    with demo(tmp_path, "--exit") as process:
        said, _ = process.communicate(timeout=SECONDS_MAX)

    assert process.returncode == 0, said
    for line, expected in zip(said.splitlines()[-len(CHECKED) :], CHECKED, strict=True):
        assert re.fullmatch(expected, line)
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl, which the suggestions are written for")
@pytest.mark.slow
def test_the_demo_stays_up_for_what_it_suggests_until_it_is_interrupted(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        said = read_until(process, "Still running")
        answers = [
            json.loads(subprocess.check_output(["sh", "-c", line], timeout=10))
            for line in re.findall("  (curl .*)", said)
        ]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=SECONDS_MAX)

    assert process.returncode == 0, said + rest
    assert answers[0]["eventCount"] > 0
    assert answers[1]["items"][0]["explanation"]["kind"] == "FIXED"
    assert answers[2]["eventType"] == "completion"
    assert left_behind(tmp_path) == []


@pytest.mark.slow
def test_a_demo_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        read_until(process, "Started in")
        process.kill()
        process.wait()

        deadline = time.monotonic() + SECONDS_MAX
        while len(left_behind(tmp_path)) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)

        assert [Path(path).name[:12] for path in left_behind(tmp_path)] == ["usance-demo-"]


def test_a_check_that_fails_fails_the_demo() -> None:
    out = StringIO()
    checks = [Check("All is well."), Check("Two is three.", ("two: 2 instead of 3",))]

    status = run.conclude(Console(file=out, width=80), checks, seconds=12)

    assert status == 1
    assert out.getvalue().splitlines()[-4:] == [
        "✓ All is well.",
        "✗ Two is three.",
        "    two: 2 instead of 3",
        "1 of 2 checks failed after 12 s.",
    ]
