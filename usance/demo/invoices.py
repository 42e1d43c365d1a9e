"""The demo's invoices as the API shows them: waited for, read, and put into plain values."""

import asyncio
import time
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from usance.client import Client
from usance.demo.catalog import Books

POLL_SECONDS = 0.1


class NotBilledError(Exception):
    """The invoices did not all come in time."""

    code: ClassVar[str] = "DEMO_NOT_BILLED"


class Line(msgspec.Struct, frozen=True):
    """One line item with the explanation that it carries."""

    title: str
    description: str
    price: str
    quantity: Decimal
    rate: Decimal
    net: Decimal
    explanation: dict[str, Any]


class Group(msgspec.Struct, frozen=True):
    """The lines of one product."""

    title: str
    net: Decimal
    lines: tuple[Line, ...]


class Invoice(msgspec.Struct, frozen=True):
    """One invoice; `customer` is the place in company.CUSTOMERS."""

    id: str
    customer: int
    status: str
    number: str | None
    start: date
    end_inclusive: date
    net: Decimal
    groups: tuple[Group, ...]

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(line for group in self.groups for line in group.lines)


async def wait(client: Client, *, count: int, seconds: float) -> float:
    """Waits until there are that many invoices; answers how long it took."""
    started = time.monotonic()
    while True:
        page = await client.get("/invoices", {"limit": "1"})
        found = page["pagination"]["totalResultSize"]
        if found >= count:
            return time.monotonic() - started
        if time.monotonic() - started > seconds:
            raise NotBilledError(f"After {seconds:.0f} s there are {found} of {count} invoices.")
        await asyncio.sleep(POLL_SECONDS)


async def read(client: Client, books: Books) -> tuple[Invoice, ...]:
    """All invoices with their groups and lines, by customer and period."""
    shown = await client.every("/invoices", {"limit": "100"})
    found = await asyncio.gather(*(_read_one(client, item, books) for item in shown))
    return tuple(sorted(found, key=lambda invoice: (invoice.customer, invoice.start)))


async def _read_one(client: Client, item: dict[str, Any], books: Books) -> Invoice:
    groups = await client.every(f"/invoices/{item['id']}/line-item-groups", {"limit": "100"})
    lines = await client.every(f"/invoices/{item['id']}/line-items", {"limit": "100"})
    return Invoice(
        id=item["id"],
        customer=books.customers.index(item["customerId"]),
        status=item["status"],
        number=item["invoiceNumber"],
        start=date.fromisoformat(item["billingPeriod"]["start"]),
        end_inclusive=date.fromisoformat(item["billingPeriod"]["endInclusive"]),
        net=Decimal(item["netTotal"]),
        groups=tuple(
            Group(
                title=group["title"],
                net=Decimal(group["netTotal"]),
                lines=tuple(_line(line) for line in lines if line["groupId"] == group["id"]),
            )
            for group in groups
        ),
    )


def _line(line: dict[str, Any]) -> Line:
    return Line(
        title=line["title"],
        description=line["description"] or "",
        price=line["priceId"],
        quantity=Decimal(line["quantity"]),
        rate=Decimal(line["rate"]),
        net=Decimal(line["netTotal"]),
        explanation=line["explanation"],
    )
