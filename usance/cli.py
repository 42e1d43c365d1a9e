"""The command line. Each command reads the settings, imports what it needs and calls one function.

Imports stand inside the commands: `usance --help` need not load a web server.
Exit codes: 0 = done, 1 = it failed or found something, 2 = it could not start, and said why.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
import typer

from runtime import folder
from runtime.child import EXIT_CANNOT_START
from runtime.errors import SettingsError, StartError
from runtime.settings import Settings, process_name
from usance.bench.command import app as benches

app = typer.Typer(
    name="usance",
    help="Usage metering, rating and invoicing. Start with `usance up`, or `usance demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
imports = typer.Typer(name="import", help="Bring in what lies in files.", no_args_is_help=True)
app.add_typer(imports)
app.add_typer(benches)
letters = typer.Typer(name="dead-letters", help="What was accepted and could not be counted.", no_args_is_help=True)
app.add_typer(letters)

keys = typer.Typer(name="keys", help="API keys.", no_args_is_help=True)
app.add_typer(keys)

DataDir = Annotated[Path | None, typer.Option(help="Where the data lives.", show_default=".usance")]
DatabaseUrl = Annotated[str | None, typer.Option(help="A Postgres of yours.", show_default="the embedded one")]
RedisUrl = Annotated[str | None, typer.Option(help="A Redis or Valkey of yours.", show_default="the embedded one")]
Host = Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")]
Port = Annotated[str | None, typer.Option(help="The port; 0 takes any free one.", show_default="8080")]


def main() -> None:
    """The console script."""
    from store.db import SchemaMismatch  # noqa: PLC0415

    try:
        app()
    except (StartError, SchemaMismatch) as exc:
        sys.stdout.flush()
        print(f"usance: {exc}", file=sys.stderr)
        sys.exit(EXIT_CANNOT_START)


@app.command()
def up(
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Start everything on this machine, and stop it with Ctrl-C."""
    from usance import up as everything  # noqa: PLC0415

    settings = Settings.read(data_dir=data_dir, host=host, port=port, database_url=database_url, redis_url=redis_url)
    _run("up", settings, lambda stop: everything.up(settings, stop, say=_say), stop_seconds=everything.STOP_SECONDS_MAX)


@app.command()
def serve(
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Answer HTTP requests."""
    from usance import app as http  # noqa: PLC0415

    settings = _located(
        Settings.read(data_dir=data_dir, host=host, port=port, database_url=database_url, redis_url=redis_url)
    )
    tell = None if settings.listen_fd is not None else lambda url: _say(f"Listening on {url}")
    _run("serve", settings, lambda stop: http.serve_http(settings, stop, on_listening=tell))


@app.command()
def aggregate(data_dir: DataDir = None, database_url: DatabaseUrl = None, redis_url: RedisUrl = None) -> None:
    """Count the events that were accepted."""
    from usance import loop  # noqa: PLC0415

    settings = _located(Settings.read(data_dir=data_dir, database_url=database_url, redis_url=redis_url))
    _run("aggregate", settings, lambda stop: loop.aggregate(settings, stop))


@app.command()
def invoice(
    *,
    once: Annotated[bool, typer.Option("--once", help="Bill what is due, and end.")] = False,
    now: Annotated[str | None, typer.Option(help="Bill as if it were this instant (RFC 3339); with --once.")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Create the invoices that are due."""
    from usance import loop  # noqa: PLC0415

    settings = _located(Settings.read(data_dir=data_dir, database_url=database_url, redis_url=redis_url))
    if now is not None and not once:
        raise SettingsError("--now goes with --once: a loop needs a clock that moves")
    if not once:
        _run("invoice", settings, lambda stop: loop.invoice(settings, stop))
        return

    async def bill(_stop: asyncio.Event) -> None:
        billed = await loop.invoice_once(settings, now=_instant(now))
        _say(f"{billed} billing schedules were due.")

    _run("invoice", settings, bill)


@app.command()
def migrate(data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Bring the database to the schema of this version."""
    from store import db  # noqa: PLC0415

    settings = _located(Settings.read(data_dir=data_dir, database_url=database_url), needs_redis=False)

    async def bring(_stop: asyncio.Event) -> None:
        before = await db.migrate(str(settings.database_url))
        _say(f"The database is at revision {db.head()}; it was at {before}.")

    _run("migrate", settings, bring)


@app.command()
def demo(
    *,
    leave: Annotated[bool, typer.Option("--exit", help="End after the checks instead of staying up.")] = False,
    events: Annotated[int, typer.Option(help="How many events to play.", min=1)] = 200_000,
) -> None:
    """Play two months of a small company's usage, bill them, and check the result in front of you."""
    from rich.console import Console  # noqa: PLC0415

    from usance.demo import run  # noqa: PLC0415

    sys.exit(run.demo(run.Options(events=events, exit=leave), Console()))


@app.command()
def verify(data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Recount everything with other SQL, and report every difference."""
    from usance import verify as facts  # noqa: PLC0415

    settings = _located(Settings.read(data_dir=data_dir, database_url=database_url), needs_redis=False)
    sys.exit(facts.verify(settings))


@keys.command("create")
def create_key(
    *,
    scope: Annotated[
        list[str] | None, typer.Option(help="usage:write, read or write; again for several.", show_default="all")
    ] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make another API key, and show it this once."""
    from usance import key  # noqa: PLC0415

    settings = _located(Settings.read(data_dir=data_dir, database_url=database_url), needs_redis=False)
    asyncio.run(key.add(settings, scopes=scope or (), now=datetime.now(UTC), say=_say))


@letters.command("list")
def list_dead_letters(
    *,
    all_: Annotated[bool, typer.Option("--all", help="Those that were replayed or discarded, too.")] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Show what waits, with its reason."""
    from rich.console import Console  # noqa: PLC0415

    from usance import dead_letter  # noqa: PLC0415

    settings = _located(Settings.read(data_dir=data_dir, database_url=database_url), needs_redis=False)
    sys.exit(dead_letter.show(settings, all_=all_, console=Console()))


@letters.command("replay")
def replay_dead_letters(
    letter: Annotated[list[UUID] | None, typer.Argument(help="Which ones.", show_default="all that wait")] = None,
    *,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Count what can be counted now, as received when it was received."""
    from rich.console import Console  # noqa: PLC0415

    from usance import dead_letter  # noqa: PLC0415

    settings = _located(Settings.read(data_dir=data_dir, database_url=database_url), needs_redis=False)
    sys.exit(dead_letter.replay(settings, letter or [], console=Console()))


@letters.command("discard")
def discard_dead_letters(
    letter: Annotated[list[UUID], typer.Argument(help="Which ones.")],
    *,
    reason: Annotated[str, typer.Option(help="Why they will never be counted; it is kept with them.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Give up what cannot be counted; it stays in the list of all, with who, when and why."""
    from rich.console import Console  # noqa: PLC0415

    from usance import dead_letter  # noqa: PLC0415

    settings = _located(Settings.read(data_dir=data_dir, database_url=database_url), needs_redis=False)
    sys.exit(dead_letter.discard(settings, letter, reason=reason, console=Console()))


@imports.command("events")
def import_events(  # noqa: PLR0913 - options of a command line
    file: Annotated[Path, typer.Argument(help="A CSV or NDJSON file of any size.")],
    *,
    maps: Annotated[list[str] | None, typer.Option("--map", help="FIELD=COLUMN, e.g. customerAlias=team.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE for every row, e.g. eventType=call.")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Zone of timestamps without an offset.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="csv or ndjson.", show_default="by the file's name")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between a CSV's columns.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of where it stopped.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Where Usance answers.", show_default="the one that `up` runs")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Stream usage events from a file; ids follow from file and row, so repeating it counts nothing twice."""
    from rich.console import Console  # noqa: PLC0415

    from usance.importer import command  # noqa: PLC0415

    settings = Settings.read(data_dir=data_dir)
    if settings.client_id is None or settings.client_secret is None:
        raise SettingsError("no API key: set USANCE_CLIENT_ID and USANCE_CLIENT_SECRET")
    options = command.Options(
        file=file,
        url=url or _http_url(settings),
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        progress_folder=settings.data_dir / "imports",
        maps=tuple(maps or ()),
        sets=tuple(sets or ()),
        time_zone=time_zone,
        format=format_,
        delimiter=delimiter,
        restart=restart,
    )
    sys.exit(command.import_events(options, Console()))


def _run(
    name: str,
    settings: Settings,
    main: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    *,
    stop_seconds: float | None = None,
) -> None:
    import structlog  # noqa: PLC0415

    from runtime import process, telemetry  # noqa: PLC0415
    from store.db import SchemaMismatch  # noqa: PLC0415

    telemetry.configure_logging(settings, process=process_name() or name)
    try:
        process.run(main, stop_seconds=stop_seconds or settings.stop_seconds)
    except (StartError, SchemaMismatch):
        raise
    except Exception as exc:  # noqa: BLE001 - the last one who can say it in the log's own shape
        structlog.get_logger(__name__).error("failed", action=name, error=process.describe(exc))
        sys.exit(1)


def _located(settings: Settings, *, needs_redis: bool = True) -> Settings:
    """Fill in the servers that `usance up` runs in the data folder, where no URL was given."""
    if settings.database_url and (settings.redis_url or not needs_redis):
        return settings
    found = folder.find(settings.data_dir)
    if found is None:
        raise SettingsError(
            f"nothing runs in {settings.data_dir.absolute()}: start `usance up` there, "
            "name its folder with --data-dir, or give --database-url and --redis-url"
        )
    return msgspec.structs.replace(
        settings,
        database_url=settings.database_url or found.database_url,
        redis_url=settings.redis_url or found.redis_url,
    )


def _http_url(settings: Settings) -> str:
    found = folder.find(settings.data_dir)
    if found is None:
        raise SettingsError(f"nothing runs in {settings.data_dir.absolute()}: start `usance up` there, or give --url")
    return found.http_url


def _instant(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as exc:
        raise SettingsError(f"--now: {text!r} is no instant; give e.g. 2025-02-01T00:00:00Z") from exc
    if instant.tzinfo is None:
        raise SettingsError(f"--now: {text!r} has no offset; add Z for UTC")
    return instant.astimezone(UTC)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
