"""`usance verify`: on any live database, is everything what it must be?

    counters     a recount of the raw events, with SQL of its own in one snapshot, against what billing reads
    identities   each live event has its one key, each name its number
    invoices     no orphans, no gaps in numbers, every line carries its explanation and rounds from it

Reads only, in one REPEATABLE READ snapshot, so that it can run while events are coming in. Exit codes: 0 = all agrees,
1 = differences, 2 = it could not be checked.
"""

import asyncio
import time
from typing import ClassVar

import asyncpg
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runtime.settings import Settings
from store import db
from store import verify as facts
from store.verify import Finding

SAMPLES_MAX = 10


class VerifyError(Exception):
    """The database could not be checked."""

    code: ClassVar[str] = "CANNOT_VERIFY"


class Report(msgspec.Struct, frozen=True):
    """What was checked, and what differs."""

    findings: tuple[Finding, ...]
    live_events: int
    seconds: float

    @property
    def checked(self) -> int:
        return sum(finding.checked for finding in self.findings)

    @property
    def differences(self) -> int:
        return sum(finding.differences for finding in self.findings)


async def examine(database_url: str, *, samples_max: int = SAMPLES_MAX) -> Report:
    """Checks everything in one snapshot."""
    started = time.monotonic()
    try:
        conn = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
        try:
            await db.check_schema(conn)
            await facts.prepare(conn)
            async with conn.transaction(isolation="repeatable_read", readonly=True):
                findings = await facts.examine(conn, samples_max=samples_max)
                live = await facts.live_events(conn)
        finally:
            await conn.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, db.SchemaMismatch) as exc:
        raise VerifyError(f"The database could not be checked: {exc}") from exc
    return Report(findings=tuple(findings), live_events=live, seconds=time.monotonic() - started)


def verify(settings: Settings) -> int:
    """Checks, says what was checked and what differs; answers the exit code."""
    console = Console()
    try:
        report = asyncio.run(examine(str(settings.database_url)))
    except VerifyError as exc:
        console.print(f"[bold red]Not verified:[/] {escape(str(exc))}")
        return 2
    _show(report, console)
    return 1 if report.differences else 0


def _show(report: Report, console: Console) -> None:
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("What must hold")
    grid.add_column("Checked", justify="right")
    grid.add_column("Differences", justify="right")
    for finding in report.findings:
        style = "bold red" if finding.differences else "green"
        grid.add_row(escape(finding.says), f"{finding.checked:,}", f"[{style}]{finding.differences:,}[/]")
    console.print(grid)
    for finding in report.findings:
        _show_samples(finding, console)
    took = f"{report.checked:,} facts and {report.live_events:,} live events in {report.seconds:.1f} s"
    if report.differences:
        console.print(f"\n[bold red]{report.differences:,} differences[/] in {took}.")
    else:
        console.print(f"\n[bold green]All agrees:[/] {took}.")


def _show_samples(finding: Finding, console: Console) -> None:
    if not finding.differences:
        return
    console.print(f"\n[bold]{escape(finding.says)}[/]")
    for sample in finding.samples:
        console.print(f"  {escape(sample)}", soft_wrap=True, highlight=False)
    more = finding.differences - len(finding.samples)
    if more:
        console.print(f"  and {more:,} more")
