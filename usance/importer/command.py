"""`usance import events FILE`: the options checked, the progress shown, the outcome said.

Exit codes: 0 = every row was accepted; 1 = some rows were refused, and they are listed; 2 = the import could not be
done, or not to its end: the message says why, and the same command goes on.
"""

import asyncio
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from usance.client import Client, ClientError, RefusedError
from usance.importer import mapping, rows, run
from usance.importer.mapping import MappingError
from usance.importer.progress import ProgressFile
from usance.importer.rows import RowFile, SourceError

NDJSON_SUFFIXES = frozenset({".ndjson", ".jsonl", ".json"})
CSV_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})


class Options(msgspec.Struct, frozen=True):
    """What the command line said, with the settings filled in."""

    file: Path
    url: str
    client_id: str
    client_secret: str
    progress_folder: Path
    maps: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    time_zone: str | None = None
    format: str | None = None
    delimiter: str | None = None
    restart: bool = False
    patience_seconds: float = 120


def import_events(options: Options, console: Console) -> int:
    """Imports the file and says what became of it."""
    try:
        source = open_source(options)
        outcome = asyncio.run(_import(options, source, console))
    except (MappingError, SourceError, ClientError, OSError) as exc:
        console.print(f"[bold red]Not imported:[/] {escape(str(exc))}")
        for line in exc.errors[:10] if isinstance(exc, RefusedError) else ():
            console.print(f"  {escape(line)}")
        return 2
    except KeyboardInterrupt:
        console.print("[bold]Stopped.[/] The same command goes on where it was.")
        return 2
    _report(options, outcome, console)
    return 1 if outcome.refused else 0


def open_source(options: Options) -> run.Source:
    """The file with its mapping completed and checked; reads no further than its first rows."""
    if not options.file.is_file():
        raise SourceError(f"There is no file {options.file}.")
    is_ndjson = _is_ndjson(options)
    fields = mapping.parse(options.maps, options.sets, zone=_zone(options.time_zone))
    delimiter = options.delimiter or ("\t" if options.file.suffix == ".tsv" else ",")
    if is_ndjson:
        fields = mapping.complete(fields, rows.sample_columns(options.file), is_typed=True)
    else:
        with RowFile(options.file, is_ndjson=False, delimiter=delimiter) as opened:
            fields = mapping.complete(fields, opened.header)
    return run.Source(path=options.file, fields=fields, is_ndjson=is_ndjson, delimiter=delimiter)


async def _import(options: Options, source: run.Source, console: Console) -> run.Outcome:
    async with Client(
        options.url,
        client_id=options.client_id,
        secret=options.client_secret,
        connections=run.CONNECTIONS,
        patience_seconds=options.patience_seconds,
    ) as client:
        # The account's id names the progress file, and asking for it shows at once whether server and key are right.
        accounts = await client.get("/sequence-accounts")
        account = str(accounts["items"][0]["id"])
        kept = ProgressFile(options.progress_folder, account=account, file=source.path, fields=source.fields)
        if options.restart:
            kept.forget()
        return await _with_bar(source, client, kept, console)


async def _with_bar(source: run.Source, client: Client, kept: ProgressFile, console: Console) -> run.Outcome:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(escape(source.path.name), total=source.path.stat().st_size, rows=0)
        return await run.run(
            source, client, kept, on_bytes=lambda offset, count: bar.update(task, completed=offset, rows=count)
        )


def _report(options: Options, outcome: run.Outcome, console: Console) -> None:
    if outcome.resumed_at_row:
        console.print(f"Went on after row {outcome.resumed_at_row:,}, where an earlier import had stopped.")
    if outcome.zoneless and options.time_zone is None:
        console.print("Times without a zone were read as UTC; [bold]--time-zone[/] says otherwise.")
    counts = f"[bold]{outcome.accepted:,}[/] events accepted, [bold]{outcome.refused:,}[/] rows refused"
    rate = outcome.rows_now / max(outcome.seconds, 0.001)
    speed = f"{outcome.rows_now:,} rows in {outcome.seconds:.1f} s, {rate:,.0f}/s"
    console.print(f"{escape(options.file.name)}: {counts} ({speed}).")
    if outcome.refused:
        _report_refused(outcome, console)


def _report_refused(outcome: run.Outcome, console: Console) -> None:
    table = Table("row", "code", "message", title="Refused rows", title_justify="left")
    for refusal in outcome.first_refused:
        table.add_row(f"{refusal.row:,}", escape(refusal.code), escape(refusal.message))
    console.print(table)
    rest = outcome.refused - len(outcome.first_refused)
    more = f"{rest:,} more. " if rest else ""
    console.print(f"{more}All of them: {escape(str(outcome.refused_path))}", soft_wrap=True)


def _is_ndjson(options: Options) -> bool:
    if options.format is not None:
        return options.format == "ndjson"
    suffix = options.file.suffix.lower()
    if suffix not in NDJSON_SUFFIXES | CSV_SUFFIXES:
        raise SourceError(f"{options.file.name}: say --format csv or --format ndjson; the name does not tell.")
    return suffix in NDJSON_SUFFIXES


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise MappingError(f"--time-zone {name}: no such time zone. Write it as in Europe/Paris.") from exc
