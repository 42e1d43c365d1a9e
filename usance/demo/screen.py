"""What the demo shows: steps as they end, the table of invoices, the checks, what to try. Fits 80 columns, with colour
or without.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import date
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from usance.demo import company
from usance.demo.check import Check, shown
from usance.demo.invoices import Invoice
from usance.demo.traffic import Ledger


def title(console: Console) -> None:
    console.print()
    console.print(Rule("[bold]Usance[/] [dim]the demo[/]", align="left"))
    console.print(f"{company.NAME} sells two language models by the token.")
    console.print("Two months of its billing, from the first request to the last invoice.")
    console.print()


def done(console: Console, text: str) -> None:
    console.print(f"[green]✓[/] {text}")


def waiting(console: Console, text: str) -> AbstractContextManager[object]:
    """Something moves while nothing is said, where there is a terminal."""
    return console.status(f"[dim]{text}[/]")


def note(console: Console, text: str) -> None:
    console.print(f"  [dim]{text}[/]")


def failed(console: Console, text: str) -> None:
    console.print(f"[bold red]✗[/] {text}")


class Speed(ProgressColumn):
    """Events per second, of the whole run."""

    def render(self, task: Any) -> Text:
        speed = task.completed / task.elapsed if task.elapsed else 0
        return Text(f"{speed:,.0f} events/s")


def playing(console: Console) -> AbstractContextManager[Progress]:
    """The bar of events; where there is no terminal, nothing moves and nothing is printed."""
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        Speed(),
        console=console,
        transient=True,
        expand=True,
        disable=not console.is_terminal,
    )


def table(console: Console, invoices: Sequence[Invoice], ledger: Ledger, *, months: Sequence[date]) -> None:
    """One row per invoice; the plan stands below the name."""
    grid = Table(box=None, pad_edge=False, header_style="dim", show_footer=True, footer_style="bold")
    grid.add_column("Customer", "All", no_wrap=True)
    grid.add_column("Month", no_wrap=True)
    grid.add_column("Invoice", no_wrap=True)
    for name in ("Requests", "Tokens"):
        grid.add_column(name, justify="right", no_wrap=True)
    total = sum((invoice.net for invoice in invoices), Decimal(0))
    grid.add_column(f"Net {company.CURRENCY}", f"{total:,}", justify="right", no_wrap=True)
    last = None
    for invoice in invoices:
        who, month = company.CUSTOMERS[invoice.customer], months.index(invoice.start)
        tokens = sum(ledger.usage(invoice.customer, month, m.key) for m in company.METRICS if m.unit == "tokens")
        grid.add_row(
            f"  [dim]{who.plan} plan[/]" if invoice.customer == last else escape(who.name),
            f"{invoice.start:%b %Y}",
            escape(invoice.number or invoice.status.lower()),
            f"{ledger.usage(invoice.customer, month, 'requests'):,}",
            f"{tokens:,}",
            f"{invoice.net:,}",
        )
        last = invoice.customer
    console.print()
    console.print("[bold]Invoices[/]")
    console.print(grid)


def checks(console: Console, made: Iterable[Check]) -> None:
    """The last thing the demo prints: what was checked."""
    console.print()
    console.print("[bold]Checked[/]")
    for check in made:
        (done if check.passed else failed)(console, escape(check.says))
        for wrong in shown(check):
            console.print(f"    [red]{escape(wrong)}[/]")


def suggestions(console: Console, url: str, *, login: str, commands: Sequence[str]) -> None:
    """Where it runs and what to try; commands are never wrapped, so that they can be copied."""
    console.print()
    console.print("[bold]Try it[/] [dim](as long as the demo runs)[/]")
    console.print(f"  API      {url}/api     [dim]key {escape(login)}[/]", soft_wrap=True, highlight=False)
    console.print(f"  Metrics  {url}/metrics", soft_wrap=True, highlight=False)
    console.print(f"  Health   {url}/ready", soft_wrap=True, highlight=False)
    for command in commands:
        console.print()
        console.print(f"  [cyan]{escape(command)}[/]", soft_wrap=True, highlight=False)
