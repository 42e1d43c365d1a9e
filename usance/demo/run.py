"""`usance demo` from its first line to its last: start, create, play, bill, show, check; then stay up, or end.

Exit codes: 0 = all that was checked holds; 1 = something does not, or the demo could not come so far.
"""

import asyncio
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.markup import escape

from runtime.folder import Endpoints
from usance import verify
from usance.client import Client, ClientError
from usance.demo import catalog, check, company, document, invoices, play, screen, traffic
from usance.demo.catalog import Books
from usance.demo.check import Check
from usance.demo.invoices import Invoice, NotBilledError
from usance.demo.server import DemoServer, ServerError
from usance.demo.traffic import Months, Traffic

EVENTS_DEFAULT = 200_000
SEED = 20_240_229
COUNTED_SECONDS_MAX = 120
BILLED_SECONDS_MAX = 60
# A customer with two aliases whose usage climbs into the upper tiers.
SHOWN_CUSTOMER = 2


class Options(msgspec.Struct, frozen=True):
    """What the command line said."""

    events: int = EVENTS_DEFAULT
    exit: bool = False


def demo(options: Options, console: Console) -> int:
    """Runs the demo; answers the exit code."""
    # Stopping the demo politely stops its server, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = 1
    try:
        with DemoServer() as running:
            status = _run(options, console, running)
            if status == 0 and not options.exit:
                _stay(console, running)
    except KeyboardInterrupt:
        console.print("\nStopped; its data is removed.")
    except (OSError, ServerError, ClientError, NotBilledError, verify.VerifyError) as error:
        screen.failed(console, f"The demo failed: {escape(str(error))}")
        return 1
    return status


def conclude(console: Console, made: Sequence[Check], *, seconds: float) -> int:
    """Says what was checked; answers the exit code."""
    screen.checks(console, made)
    failures = sum(not one.passed for one in made)
    if failures:
        console.print(f"[bold red]{failures} of {len(made)} checks failed[/] after {seconds:.0f} s.")
        return 1
    console.print(f"[bold green]All {len(made)} checks passed[/] in {seconds:.0f} s, start-up included.")
    return 0


def _run(options: Options, console: Console, running: DemoServer) -> int:
    started = time.monotonic()
    screen.title(console)
    with screen.waiting(console, "Starting Postgres, Valkey, HTTP service, aggregator and invoicer"):
        endpoints = running.endpoints()
    screen.done(console, f"Started in {time.monotonic() - started:.1f} s: {escape(endpoints.http_url)}")
    checks = asyncio.run(_story(options, console, running, endpoints))
    return conclude(console, checks, seconds=time.monotonic() - started)


async def _story(options: Options, console: Console, running: DemoServer, endpoints: Endpoints) -> Sequence[Check]:
    months = traffic.last_two_months(datetime.now(UTC).date())
    async with Client(
        endpoints.http_url, client_id=running.client_id, secret=running.client_secret, connections=16
    ) as client:
        books = await _create(client, console, months)
        acted = Traffic(months, events=options.events, seed=SEED)
        played = await _play(client, console, acted)
        counted = await _count(client, console, books, acted)
        await catalog.activate(client, books)
        count = len(months.starts) * len(company.CUSTOMERS)
        with screen.waiting(console, "Billing both months"):
            seconds = await invoices.wait(client, count=count, seconds=BILLED_SECONDS_MAX)
        screen.done(console, f"{count} invoices, {seconds:.1f} s after the schedules were activated")
        found = await invoices.read(client, books)
    with screen.waiting(console, "Recounting the raw events"):
        report = await verify.examine(endpoints.database_url)
    screen.table(console, found, acted.ledger, months=months.starts)
    shown = next(invoice for invoice in found if invoice.customer == SHOWN_CUSTOMER)
    document.show(console, shown, units=_units(books))
    login = f"{running.client_id}:{running.client_secret}"
    commands = _commands(endpoints.http_url, login, books, shown)
    screen.suggestions(console, endpoints.http_url, login=login, commands=commands)
    return (
        check.duplicates(played, acted.ledger, counted=counted, stored=report.live_events),
        check.recount(report),
        check.closed(found, months),
        check.lines(found, books, acted.ledger, months),
    )


async def _create(client: Client, console: Console, months: Months) -> Books:
    books = await catalog.create(client, start=months.first)
    aliases = sum(len(customer.aliases) for customer in company.CUSTOMERS)
    screen.done(
        console,
        f"Created {len(books.customers)} customers with {aliases} aliases, {len(books.metrics)} metrics, "
        f"{len(books.prices)} prices",
    )
    return books


async def _play(client: Client, console: Console, acted: Traffic) -> play.Played:
    with screen.playing(console) as bar:
        total = round(len(acted) * (1 + traffic.DUPLICATE_SHARE))
        task = bar.add_task("Two months of usage", total=total)
        played = await play.play(client, acted, on_sent=lambda events: bar.advance(task, events))
    months, speed = acted.months, played.sent / played.seconds
    screen.done(
        console, f"Played {months.first:%B} and {months.second:%B %Y}: {played.sent:,} events in {played.seconds:.1f} s"
    )
    screen.note(console, f"{acted.ledger.late:,} came a month late, {acted.ledger.duplicates:,} were sent twice")
    screen.note(console, f"[bold]{speed:,.0f} events/s[/], each on disk before its reply")
    return played


async def _count(client: Client, console: Console, books: Books, acted: Traffic) -> int:
    """Waits until the meter has caught up, but not for ever; what it says then is checked at the end."""
    started = time.monotonic()
    with screen.waiting(console, "Counting what is left"):
        while (counted := await _counted(client, books, acted.months)) < acted.ledger.unique:
            if time.monotonic() - started > COUNTED_SECONDS_MAX:
                break
            await asyncio.sleep(invoices.POLL_SECONDS)
    screen.done(console, f"Counted {counted:,} events, {time.monotonic() - started:.1f} s after the last was sent")
    return counted


async def _counted(client: Client, books: Books, months: Months) -> int:
    """All requests of all customers in both months, as the meter counts them."""
    query = {
        "customerAliases": ",".join(alias for customer in company.CUSTOMERS for alias in customer.aliases),
        "periodStart": months.first.isoformat(),
        "periodEnd": months.last.isoformat(),
    }
    answer = await client.get(f"/usage-metrics/{books.metrics['requests']}/calculate", query)
    return int(answer["value"])


def _stay(console: Console, running: DemoServer) -> None:
    console.print("\nStill running. [bold]Ctrl-C[/] ends the demo and removes its data.")
    status = running.wait()
    raise ServerError(f"`usance up` ended with {status}.\n{running.last_words()}")


def _units(books: Books) -> dict[str, str]:
    return {books.metrics[metric.key]: metric.unit for metric in company.METRICS}


def _commands(url: str, login: str, books: Books, invoice: Invoice) -> tuple[str, ...]:
    who = company.CUSTOMERS[invoice.customer]
    curl = f"curl -s -u {login}"
    calculate = (
        f"{url}/api/usage-metrics/{books.metrics['atlas-input']}/calculate?customerAliases={','.join(who.aliases)}"
        f"&periodStart={invoice.start}&periodEnd={invoice.end_inclusive}"
    )
    event = (
        f'{{"customerAlias":"{who.aliases[0]}","eventType":"{company.EVENT_TYPE}",'
        '"eventProperties":{"model":"atlas","inputTokens":1200,"outputTokens":350,"user":"user-01"}}'
    )
    return (
        f"{curl} '{calculate}'",
        f"{curl} {url}/api/invoices/{invoice.id}/line-items",
        f"{curl} -H 'Content-Type: application/json' -d '{event}' {url}/api/usage-events",
    )
