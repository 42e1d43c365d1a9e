"""`usance import events` against the whole application: everything arrives once, whatever happens on the way."""

import asyncio
import csv
import json
import os
import sys
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from store.db import Connection
from tests import company
from tests.server import CLIENT_ID, SECRET, Server
from usance import verify
from usance.client import Client, Receipt
from usance.importer import Options, import_events, run
from usance.importer.command import open_source
from usance.importer.progress import Progress, ProgressFile

TRACES = Path(__file__).parents[3] / "shared" / "data" / "llm-trace"
MAPS = ("customerAlias=team", "eventTimestamp=at", "eventProperties.tokens=tokens")
MARCH = datetime(2025, 3, 1, tzinfo=UTC)


class Imported(msgspec.Struct, frozen=True):
    code: int
    said: str


@pytest.fixture
def options(server: Server, tmp_path: Path) -> Options:
    return Options(
        file=tmp_path / "usage.csv",
        url=server.url,
        client_id=CLIENT_ID,
        client_secret=SECRET,
        progress_folder=tmp_path / "imports",
        maps=MAPS,
        sets=("eventType=calls",),
        patience_seconds=5,
    )


def usage(rows: int, *, first: int = 0) -> str:
    return "".join(f"acme,2025-02-{n % 28 + 1:02d} 12:00:00,{n}\n" for n in range(first, first + rows))


def write(options: Options, content: str) -> None:
    options.file.write_text(f"team,at,tokens\n{content}")


async def imported(options: Options) -> Imported:
    """The command, in a thread of its own as it has an event loop of its own."""
    out = StringIO()
    code = await asyncio.to_thread(import_events, options, Console(file=out, width=120))
    return Imported(code, out.getvalue())


async def live(server: Server, conn: Connection) -> tuple[int, int]:
    """How many events count, and the sum of their tokens."""
    await server.aggregate()
    row = await conn.fetchrow(
        "select count(*), coalesce(sum((properties::jsonb ->> 'tokens')::numeric), 0) "
        "from usage_event where state = 'live'"
    )
    assert row is not None
    return int(row[0]), int(row[1])


async def test_every_row_becomes_one_event(server: Server, conn: Connection, options: Options) -> None:
    write(options, usage(2_500))

    assert (await imported(options)).code == 0
    assert await live(server, conn) == (2_500, sum(range(2_500)))


async def test_importing_again_counts_nothing_twice(server: Server, conn: Connection, options: Options) -> None:
    write(options, usage(1_500))
    await imported(options)

    again = await imported(options)

    assert "1,500 events accepted, 0 rows refused" in again.said
    assert await live(server, conn) == (1_500, sum(range(1_500)))


async def test_a_file_that_grew_adds_only_what_is_new(server: Server, conn: Connection, options: Options) -> None:
    write(options, usage(1_500))
    await imported(options)
    write(options, usage(1_700))
    await imported(options)

    assert await live(server, conn) == (1_700, sum(range(1_700)))


async def test_a_better_mapping_corrects_what_was_imported(server: Server, conn: Connection, options: Options) -> None:
    write(options, usage(10))
    await imported(msgspec.structs.replace(options, maps=MAPS[:2]))
    await imported(options)

    assert await live(server, conn) == (10, sum(range(10)))


@pytest.mark.slow
async def test_an_import_that_was_killed_goes_on(server: Server, conn: Connection, options: Options) -> None:
    write(options, usage(40_000))
    stored = await killed(options, rows=3_000)

    outcome = await imported(options)

    assert f"Went on after row {stored.place.row:,}" in outcome.said
    assert f"40,000 events accepted, 0 rows refused ({40_000 - stored.place.row:,} rows in" in outcome.said
    assert await live(server, conn) == (40_000, sum(range(40_000)))


@pytest.mark.slow
async def test_a_changed_file_is_read_from_its_beginning(server: Server, conn: Connection, options: Options) -> None:
    write(options, usage(40_000))
    await killed(options, rows=3_000)
    write(options, usage(40_001))

    outcome = await imported(options)

    assert "Went on" not in outcome.said
    assert await live(server, conn) == (40_001, sum(range(40_001)))


async def killed(options: Options, *, rows: int) -> Progress:
    """Runs the real command and kills it once that many rows are through; answers the progress it left."""
    words = [word for text in options.maps for word in ("--map", text)] + ["--set", *options.sets]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "usance.cli", "import", "events", str(options.file), *words),
        *("--url", options.url, "--data-dir", str(options.progress_folder.parent)),
        env=os.environ | {"USANCE_CLIENT_ID": CLIENT_ID, "USANCE_CLIENT_SECRET": SECRET},
    )
    async with asyncio.timeout(30):
        while (stored := saved(options)).place.row < rows:
            assert process.returncode is None
            await asyncio.sleep(0.005)
    process.kill()
    await process.wait()
    return max(stored, saved(options), key=lambda progress: progress.place.row)


def saved(options: Options) -> Progress:
    files = list(options.progress_folder.glob("*.json"))
    return msgspec.json.decode(files[0].read_bytes(), type=Progress) if files else Progress(size=0, changed_ns=0)


async def test_refused_rows_are_told_and_the_others_taken(server: Server, conn: Connection, options: Options) -> None:
    bad = ["acme,yesterday,1", ",2025-02-01 12:00:00,1", "acme,1999-12-31 12:00:00,1", "acme,2025-02-01"]
    write(options, usage(1_200) + "\n".join(bad) + "\n" + usage(300, first=1_200))

    outcome = await imported(options)
    (refused,) = options.progress_folder.glob("*.refused.ndjson")
    listed = [json.loads(line) for line in refused.read_text().splitlines()]

    assert outcome.code == 1
    assert "1,500 events accepted, 4 rows refused" in outcome.said
    assert [(row["row"], row["code"]) for row in listed] == [
        (1201, "BAD_TIMESTAMP"),
        (1202, "MISSING_VALUE"),
        (1203, "INVALID_VALUE"),
        (1204, "BAD_CSV"),
    ]
    assert all(str(row["row"])[1:] in outcome.said for row in listed)
    assert await live(server, conn) == (1_500, sum(range(1_500)))


async def test_a_list_of_refused_rows_is_cut_short_on_screen(options: Options) -> None:
    write(options, "acme,never,1\n" * 1_100)

    outcome = await imported(options)

    assert outcome.code == 1
    assert outcome.said.count("BAD_TIMESTAMP") == 20
    assert "1,080 more." in outcome.said


async def test_a_batch_of_nothing_but_bad_rows_does_not_stop_the_import(options: Options) -> None:
    write(options, "acme,1999-01-01,1\n" * 1_000 + usage(1))

    assert "1 events accepted, 1,000 rows refused" in (await imported(options)).said


async def test_of_two_rows_with_one_id_the_last_wins(server: Server, conn: Connection, options: Options) -> None:
    write(options, "".join(f"acme,2025-02-01 12:00:00,{n}\n" for n in range(3_000)))
    named = msgspec.structs.replace(options, sets=("eventType=calls",), maps=(*MAPS, "customerEventId=team"))
    await imported(named)

    assert await live(server, conn) == (1, 2_999)


async def test_times_without_a_zone_are_noted(options: Options) -> None:
    write(options, usage(1))

    assert "read as UTC" in (await imported(options)).said
    assert "read as UTC" not in (await imported(msgspec.structs.replace(options, time_zone="Europe/Paris"))).said


async def test_ndjson_events_are_imported_as_they_are(server: Server, conn: Connection, options: Options) -> None:
    path = options.file.with_suffix(".ndjson")
    events = [company.event(f"e-{n}", "2025-02-01T12:00:00Z", tokens=n) for n in range(3)]
    path.write_text("\n".join(map(json.dumps, [*events, events[0]])))

    outcome = await imported(msgspec.structs.replace(options, file=path, maps=(), sets=()))

    assert outcome.code == 0
    assert await live(server, conn) == (3, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"maps": ("customerAlias=tean",)}, "no column 'tean'. Did you mean 'team'?"),
        ({"file": Path("nowhere.csv")}, "There is no file nowhere.csv."),
        ({"format": None, "file": Path(__file__)}, "say --format csv or --format ndjson"),
        ({"time_zone": "Paris"}, "no such time zone"),
        ({"client_secret": "wrong" * 5}, "was refused (401)"),
        ({"url": "http://127.0.0.1:1"}, "No answer from http://127.0.0.1:1"),
    ],
)
async def test_what_cannot_be_imported_says_why(options: Options, changes: dict[str, Any], reason: str) -> None:
    write(options, usage(1))

    outcome = await imported(msgspec.structs.replace(options, **changes))

    assert outcome.code == 2
    assert reason in outcome.said.replace("\n", " ")


class Flaky(Client):
    """A client whose every third reply is lost after the server has taken the events."""

    sent = 0

    async def _request(self, method: str, path: str, **options: Any) -> Any:
        reply = await super()._request(method, path, **options)
        type(self).sent += 1
        if type(self).sent % 3 == 0:
            raise TimeoutError
        return reply

    async def _wait(self, seconds: float) -> None:
        del seconds


async def test_lost_replies_double_nothing(server: Server, conn: Connection, options: Options) -> None:
    write(options, usage(8_000))
    source = open_source(options)
    kept = ProgressFile(options.progress_folder, account="any", file=options.file, fields=source.fields)
    async with Flaky(options.url, client_id=CLIENT_ID, secret=SECRET) as client:
        outcome = await run.run(source, client, kept, on_bytes=lambda _offset, _rows: None)

    assert (outcome.accepted, Flaky.sent > 8) == (8_000, True)
    assert await live(server, conn) == (8_000, sum(range(8_000)))


class Narrow(Client):
    """A client of a server that takes no more than 300 events at once."""

    async def send_events(self, body: bytes) -> Receipt:
        if len(json.loads(body)) > 300:
            from usance.client import RefusedError  # noqa: PLC0415

            raise RefusedError("too large", status=413)
        return await super().send_events(body)


async def test_a_server_that_takes_less_gets_less(server: Server, conn: Connection, options: Options) -> None:
    write(options, usage(900) + "acme,1999-01-01,1\n" + usage(99, first=900))
    source = open_source(options)
    kept = ProgressFile(options.progress_folder, account="any", file=options.file, fields=source.fields)
    async with Narrow(options.url, client_id=CLIENT_ID, secret=SECRET) as client:
        outcome = await run.run(source, client, kept, on_bytes=lambda _offset, _rows: None)

    assert [refusal.row for refusal in outcome.first_refused] == [901]
    assert await live(server, conn) == (999, sum(range(999)))


# The traces have no column for a customer; the rule here: all rows of a file belong to the customer of the file's name.
NO_TRACES = pytest.mark.skipif(not TRACES.is_dir(), reason="needs ../shared/data/llm-trace beside the project")
INPUT_PRICE, OUTPUT_TIERS = Decimal("0.000003"), [("100000", "0.000015"), (None, "0.00001")]


@pytest.fixture
async def trace_metrics(server: Server) -> dict[str, str]:
    return {
        column: await company.metric(
            server, column, eventType="completion", aggregationType="SUM", aggregationProperty=column
        )
        for column in ("ContextTokens", "GeneratedTokens")
    }


@NO_TRACES
@pytest.mark.slow
async def test_real_traces_are_imported_and_billed_to_the_cent(
    server: Server, database_url: str, options: Options, trace_metrics: dict[str, str]
) -> None:
    for name in ("code", "conv"):
        await contract(server, name, trace_metrics)
        traced = msgspec.structs.replace(
            options,
            file=TRACES / f"{name}.csv",
            maps=("eventTimestamp=TIMESTAMP", *(f"eventProperties.{c}={c}" for c in trace_metrics)),
            sets=(f"customerAlias={name}", "eventType=completion"),
        )
        assert (await imported(traced)).code == 0
    await server.aggregate()
    await server.invoice(datetime(2023, 12, 1, tzinfo=UTC))

    assert {name: await billed(server, name) for name in ("code", "conv")} == {
        name: owed(TRACES / f"{name}.csv") for name in ("code", "conv")
    }
    assert (await verify.examine(database_url)).differences == 0


async def contract(server: Server, name: str, metrics: dict[str, str]) -> None:
    """Context tokens at one price, generated tokens in tiers, since November 2023."""
    tiers = [
        {"price": price, "isPricePercentage": False, **({"upperBound": bound} if bound else {})}
        for bound, price in OUTPUT_TIERS
    ]
    graduated = {
        "pricingType": "GRADUATED",
        "tiers": tiers,
        "usageMetricId": metrics["GeneratedTokens"],
        "usageCalculationMode": "BILLING_PERIOD",
    }
    context = company.linear(str(INPUT_PRICE), metrics["ContextTokens"])
    await company.contract(server, [context, graduated], start="2023-11-01", alias=name)


async def billed(server: Server, name: str) -> tuple[list[tuple[str, str]], str]:
    """(quantity, net) of each line of the customer's one invoice, and its total."""
    customer = (await server.get(f"/customers/by-alias/{name}")).body["id"]
    (invoice,) = (await server.get(f"/invoices?customerId={customer}")).body["items"]
    lines = (await server.get(f"/invoices/{invoice['id']}/line-items")).body["items"]
    return sorted((line["quantity"], line["netTotal"]) for line in lines), invoice["netTotal"]


def owed(path: Path) -> tuple[list[tuple[str, str]], str]:
    """The same from the file alone, with the csv module."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    context, generated = (sum(int(row[c]) for row in rows) for c in ("ContextTokens", "GeneratedTokens"))
    bound = int(OUTPUT_TIERS[0][0] or 0)
    parts = [
        (context, INPUT_PRICE),
        (min(generated, bound), Decimal(OUTPUT_TIERS[0][1])),
        (generated - bound, Decimal(OUTPUT_TIERS[1][1])),
    ]
    lines = [(str(units), (units * price).quantize(Decimal("0.01"), ROUND_HALF_UP)) for units, price in parts]
    return sorted((units, str(net)) for units, net in lines), str(sum(net for _, net in lines))
