"""The benchmarks of look-ups and of growth, small: they measure what they say they measure."""

import json
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from tests.usage import at
from usance import cli
from usance.bench import past
from usance.bench.past import Past


def test_the_past_makes_as_many_counters_as_it_says():
    of = Past(counters=20_000, until=at("2025-04-01"))
    events = [msgspec.json.decode(event) for event in past._events(of)]
    slots = {
        (one["customerAlias"], int(datetime.fromisoformat(one["eventTimestamp"]).timestamp()) // 900) for one in events
    }

    assert past.events(of) == len(events) == len(slots)
    assert 2 * len(slots) >= 20_000
    assert len({one["customerAlias"] for one in events}) == of.customers
    assert all(of.start <= datetime.fromisoformat(one["eventTimestamp"]) < of.until for one in events)


@pytest.mark.slow
def test_look_ups_are_measured_alone_and_under_load(tmp_path: Path):
    file = tmp_path / "lookup.json"
    options = ["--counters", "20000", "--seconds", "2", "--rate", "1000", "--lookups", "9", "--json", str(file)]

    shown = CliRunner().invoke(cli.app, ["bench", "lookup", *options])

    assert shown.exit_code == 0, shown.output
    said = json.loads(file.read_bytes())
    for phase in ("idle", "load"):
        assert {kind: times["lookups"] for kind, times in said[phase].items()} == {
            "current": 6,
            "series": 6,
            "calculate": 6,
        }
    assert said["counted_per_second"] > 0
    assert 0 < said["pss_idle"] <= said["pss_load"]
    assert said["lookup_p99_seconds"] == max(times["p99Ms"] for times in said["load"].values()) / 1_000


@pytest.mark.slow
def test_growth_is_measured_for_both_kinds_of_ids(tmp_path: Path):
    file = tmp_path / "growth.json"

    shown = CliRunner().invoke(
        cli.app, ["bench", "growth", "--events", "60000", "--seconds", "1", "--minutes", "9", "--json", str(file)]
    )

    assert shown.exit_code == 0, shown.output
    marks = json.loads(file.read_bytes())["marks"]
    assert [one["ids"] for one in marks] == ["ordered", "ordered", "random", "random"]
    assert all(one["counted_per_second"] > 0 and one["disk_bytes_per_event"] > 100 for one in marks)
    assert [one["ratio"] for one in marks[::2]] == [1.0, 1.0]
    assert all(marks[place]["stored"] >= 60_000 for place in (1, 3))
