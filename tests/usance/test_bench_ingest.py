"""The benchmark of ingest: a short run has everything that the long one has, and its checks can fail."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from redis.asyncio import Redis
from typer.testing import CliRunner

from runtime.errors import SettingsError
from store.account import Principal
from store.db import Connection, Pool
from tests.usage import accept, aggregator, called, definition, drain, make_metric
from usance import cli
from usance.bench import check, exactness, ingest, load, machine
from usance.bench.installation import Metrics
from usance.bench.load import LoadError, Spec, Target
from usance.bench.traffic import Ledger, Shape

KEYS = {
    "counted_per_second",
    "accepted_per_second",
    "single_requests_per_second",
    "visible_p99_seconds",
    "ratio_to_unique_insert",
    "ratio_to_copy",
    "ratio_to_hand_written",
    "ratio_to_hand_written_batch",
}
PARTS = {"HTTP workers", "aggregator", "Valkey", "Postgres", "load generator", "supervisor", "invoicer"}


@pytest.mark.slow
def test_a_short_run_measures_everything_and_is_exact(tmp_path: Any) -> None:
    file = tmp_path / "ingest.json"

    shown = CliRunner().invoke(
        cli.app,
        ["bench", "ingest", "--points", "100x4,1x8", "--seconds", "1", "--hold", "1", "--json", str(file)],
        catch_exceptions=False,
    )

    found = json.loads(file.read_bytes())
    assert (shown.exit_code, found["exact"], found["verdict"]["differences"]) == (0, True, 0)
    assert {key for key in KEYS if found[key] > 0} == KEYS
    assert [(one["batch"], one["distribution"], one["ids"]) for one in [found["held"], *found["points"]]] == [
        *[(100, "skewed", "ordered"), (100, "skewed", "ordered"), (1, "skewed", "ordered"), (1, "skewed", "ordered")],
        *[(1, "uniform", "ordered"), (100, "uniform", "ordered"), (100, "skewed", "random")],
    ]
    for one in [found["held"], *found["points"]]:
        assert {name for name, seconds in one["cpu_seconds_per_million"].items() if seconds >= 0} == PARTS
        assert one["pss_bytes"] > 100_000_000
        assert one["wal_bytes_per_event"] > 50
        assert 0 < one["visible_seconds"]["p50"] <= one["visible_seconds"]["p99"]
    assert "Exact:" in shown.output


async def test_counters_that_are_not_what_was_accepted_are_found(
    pool: Pool, redis: Redis, conn: Connection, account: Principal
) -> None:
    calls = await make_metric(conn, account, definition(), name="calls")
    tokens = await make_metric(conn, account, definition("SUM", "tokens", group_by=("model",)), name="tokens")
    now = datetime.now(UTC)
    events = [called(f"e{n}", when=now.isoformat(), model="xy"[n % 2], tokens=n) for n in range(1, 6)]
    await accept(redis, account, *events, now=now)
    await drain(aggregator(pool, redis), now=now)
    ledger: Ledger = {"acme": {"x": (2, 6), "y": (3, 9)}}

    found = await exactness.counters(conn, account.account, Metrics(calls.id, tokens.id), ["acme"])

    assert found == {("acme", "calls", ""): 5, ("acme", "tokens", "x"): 6, ("acme", "tokens", "y"): 9}
    assert exactness.compare(exactness.expected(ledger), found).exact
    for wrong in ({"acme": {"x": (2, 6), "y": (4, 9)}}, {"acme": {"x": (2, 7), "y": (3, 9)}}, {"acme": {"x": (5, 6)}}):
        assert not exactness.compare(exactness.expected(wrong), found).exact
    more = exactness.compare(exactness.expected(ledger | {"other": {"x": (1, 1)}}), found)
    assert (more.differences, more.samples[0]) == (2, "other calls: None instead of 1")


def test_nothing_compared_is_not_exact() -> None:
    assert not exactness.compare({}, {}).exact
    assert exactness.compare({("a", "calls", ""): 1}, {("a", "calls", ""): Decimal(1)}).exact


@pytest.mark.parametrize("text", ["", "100", "0x1", "100x16;1x64", "axb"])
def test_a_sweep_that_nobody_can_read_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        ingest.sweep(text)


def test_a_sweep_is_read() -> None:
    assert ingest.sweep("100x16, 1x64") == ((100, 16), (1, 64))


async def test_a_request_that_fails_ends_the_load() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=400)

    app = web.Application()
    app.add_routes([web.post("/", refuse)])
    async with TestServer(app) as server:
        target = Target(host="127.0.0.1", port=server.port or 0, path="/", authorization="none")
        spec = Spec(target=target, shape=Shape(batch=10), connections=2, seconds=1.0)
        with load.start(spec) as sending:
            sending.go()
            with pytest.raises(LoadError):
                await asyncio.to_thread(sending.result)


def test_the_time_of_a_child_is_not_lost_when_it_dies() -> None:
    program = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"]
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, time; subprocess.run({program!r}); print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert machine.cpu_seconds([parent.pid]) >= 0.25
        assert machine.memory([parent.pid]).rss > machine.memory([parent.pid]).pss > 1_000_000
        parent.kill()
    assert machine.cpu_seconds([parent.pid]) == 0


def run(counted: float, *, singles: float = 1_000, cpu: float = 20) -> dict[str, float]:
    rates = {"counted_per_second": counted, "single_requests_per_second": singles}
    return rates | {"cpu_seconds_per_million": cpu, "single_cpu_seconds_per_million": cpu * 4}


@pytest.mark.parametrize(
    ("base", "head", "worse", "code"),
    [
        ([100, 100], [99, 95], [], 0),
        ([100, 100], [85, 86], ["counted_per_second"], 1),
        # The runs of one commit differ by more than that.
        ([100, 80], [75, 78], [], 2),
        ([100, 80], [50, 50], ["counted_per_second"], 1),
        ([100, 100], [130, 131], [], 0),
    ],
)
def test_a_commit_is_worse_beyond_tolerance_and_noise(
    base: Sequence[float], head: Sequence[float], worse: Sequence[str], code: int
) -> None:
    found = check.compare([run(one) for one in base], [run(one) for one in head])

    assert [one.name for one in found if one.is_worse] == worse
    assert check.exit_code(found) == code


def test_more_processor_time_is_worse() -> None:
    found = check.compare([run(100, cpu=20), run(100, cpu=20)], [run(100, cpu=23), run(100, cpu=23)])

    assert [one.name for one in found if one.is_worse] == ["cpu_seconds_per_million", "single_cpu_seconds_per_million"]
