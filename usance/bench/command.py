"""`usance bench ...`: the command line of the benchmarks. As in usance/cli.py each command imports what it needs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="bench", help="Measure how fast the parts are on this machine.", no_args_is_help=True)


@app.command("rating")
def bench_rating(
    *,
    bills: Annotated[int, typer.Option(help="How many bills in a round.", min=1)] = 2_000,
    json: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file as well.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time goes instead.")] = False,
) -> None:
    """How many bills one core makes in a second, beside the limit that the arithmetic sets."""
    from usance.bench import rating  # noqa: PLC0415

    if profile:
        print(rating.profile(bills=bills))
    else:
        rating.run(bills=bills, json=json)


@app.command("ingest")
def bench_ingest(  # noqa: PLR0913 - options of a command line
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Two points of the sweep, and no more.")] = False,
    points: Annotated[
        str | None, typer.Option(help="The sweep as events per request x requests under way: 100x16,1x64.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long a point lasts.", min=0.5)] = 5.0,
    hold: Annotated[float, typer.Option(help="How long the best point is held; 0 holds none.", min=0)] = 60.0,
    workers: Annotated[int | None, typer.Option(help="HTTP processes.", min=1, show_default="as `up`")] = None,
    random_ids: Annotated[bool, typer.Option("--random-ids", help="Ids in no order, instead of UUIDv7.")] = False,
    backlog: Annotated[int, typer.Option(help="Accepted events that may wait; then no more is sent.", min=1)] = 60_000,
    limits: Annotated[bool, typer.Option(help="What the parts can do alone, measured beside it.")] = True,
    json: Annotated[Path | None, typer.Option("--json", help="Write the whole table to this file as well.")] = None,
) -> None:
    """How many events a second go all the way from a request into the counters, and what each costs."""
    from rich.console import Console  # noqa: PLC0415

    from usance.bench import ingest  # noqa: PLC0415

    options = ingest.Options(
        sweep=ingest.sweep(points) if points else ingest.QUICK if quick else ingest.SWEEP,
        seconds=seconds,
        hold_seconds=hold,
        http_workers=workers,
        ids="random" if random_ids else "ordered",
        backlog_events_max=backlog,
        is_quick=quick,
        has_limits=limits,
        json=json,
    )
    sys.exit(ingest.run(options, Console()))


@app.command("lookup")
def bench_lookup(
    *,
    counters: Annotated[int, typer.Option(help="How many counters there are.", min=20_000)] = 1_000_000,
    seconds: Annotated[float, typer.Option(help="How long look-ups go on, alone and under load.", min=1)] = 30.0,
    rate: Annotated[int, typer.Option(help="Events per second while there is load.", min=100)] = 50_000,
    lookups: Annotated[int, typer.Option(help="Look-ups per second.", min=3)] = 30,
    json: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file as well.")] = None,
) -> None:
    """How long a look-up takes, alone and while events come in, and how much memory all of it needs."""
    from rich.console import Console  # noqa: PLC0415

    from usance.bench import lookup  # noqa: PLC0415

    options = lookup.Options(
        counters=counters, seconds=seconds, events_per_second=rate, lookups_per_second=lookups, json=json
    )
    lookup.run(options, Console())


@app.command("growth")
def bench_growth(
    *,
    events: Annotated[int, typer.Option(help="How many stored events to grow to.", min=0)] = 100_000_000,
    minutes: Annotated[float, typer.Option(help="When to stop growing; both kinds of ids together.", min=0.1)] = 10.0,
    seconds: Annotated[float, typer.Option(help="How long each mark is measured.", min=0.5)] = 10.0,
    json: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file as well.")] = None,
) -> None:
    """What stored events cost the next ones, with ids in the order of time and with random ones."""
    from rich.console import Console  # noqa: PLC0415

    from usance.bench import growth  # noqa: PLC0415

    growth.run(growth.Options(events=events, minutes=minutes, seconds=seconds, json=json), Console())
