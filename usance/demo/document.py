"""One invoice in full, on a terminal: every line with the arithmetic behind it, read from the explanation it carries.

Atlas, the large model                                                     14.10
Atlas input tokens: 2,402,564 tokens in 10,588 events
tier 1, up to 1,000,000            1,000,000 x 0.000003 = 3             3.00
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from usance.demo import company
from usance.demo.invoices import Invoice, Line

WIDTH_MAX = 100
_NET_WIDTH = 10


def show(console: Console, invoice: Invoice, *, units: Mapping[str, str]) -> None:
    """`units` names the unit of each metric id."""
    width = min(console.width, WIDTH_MAX)
    who = company.CUSTOMERS[invoice.customer]
    console.print()
    console.print("[bold]One invoice in full[/], [dim]every line with the arithmetic that it carries[/]")
    console.print(Rule(style="dim"), width=width)
    console.print(_row(Text(f"{who.name}, {who.town}", "bold"), Text(company.CURRENCY, "dim"), width))
    console.print(Text(f"{invoice.start} to {invoice.end_inclusive}", "dim"))
    for group in invoice.groups:
        console.print()
        console.print(_row(Text(group.title, "bold"), Text(f"{group.net:,}", "bold"), width))
        for text in _lines(group.lines, units, width):
            console.print(text)
    console.print(Rule(style="dim"), width=width)
    console.print(_row(Text("Total", "bold"), Text(f"{invoice.net:,}", "bold"), width))


def explain(explanation: Mapping[str, Any]) -> tuple[str, str]:
    """What a line is for, and its arithmetic."""
    amount = _number(explanation["amount"])
    match explanation["kind"]:
        case "FIXED":
            days, full_days = explanation["days"], explanation["fullDays"]
            price = _number(explanation["price"])
            return f"{days} of {full_days} days", f"{price} x {days}/{full_days} = {amount}"
        case "LINEAR":
            quantity = _number(explanation["reading"]["quantity"])
            return "every unit", f"{quantity} x {_number(explanation['rate'])} = {amount}"
        case "TIER":
            return _tier(explanation), f"{_number(explanation['units'])} x {_number(explanation['rate'])} = {amount}"
        case "TIER_FEE":
            return _tier(explanation), f"flat fee {amount}"
        case kind:
            return str(kind), amount


def _lines(lines: tuple[Line, ...], units: Mapping[str, str], width: int) -> Iterator[Text]:
    for title, members in groupby(lines, key=lambda line: line.title):
        priced = list(members)
        yield Text(f"  {title}{_reading(priced[0], units)}")
        for line in priced:
            yield from _arithmetic(line, width)


def _arithmetic(line: Line, width: int) -> Iterator[Text]:
    left, right = explain(line.explanation)
    net = Text(f"{line.net:,}")
    if len(left) + len(right) + _NET_WIDTH + 5 <= width:
        room = width - _NET_WIDTH - len(left) - 4
        yield _row(Text(f"    {left}{right:>{room}}", "dim"), net, width)
    else:
        yield Text(f"    {left}", "dim")
        yield _row(Text(f"{right:>{width - _NET_WIDTH}}", "dim"), net, width)


def _reading(line: Line, units: Mapping[str, str]) -> str:
    reading = line.explanation.get("reading")
    if reading is None:
        return ""
    unit = units.get(reading["metricId"], "units")
    return f": {_number(reading['quantity'])} {unit} in {reading['eventCount']:,} events"


def _tier(explanation: Mapping[str, Any]) -> str:
    over, up_to = Decimal(explanation["over"]), explanation["upTo"]
    name = f"tier {explanation['tier']}"
    if up_to is None:
        return f"{name}, above {_number(over)}"
    return f"{name}, {_number(over)} to {_number(up_to)}" if over else f"{name}, up to {_number(up_to)}"


def _row(left: Text, right: Text, width: int) -> Text:
    gap = max(1, width - len(left) - len(right))
    return Text.assemble(left, " " * gap, right)


def _number(value: object) -> str:
    return f"{Decimal(str(value)):,f}"
