"""Ninety days of usage, sent through the product, so that look-ups have something to find.

Each event is the only one of its customer, quarter hour and model, so it makes one quarter hour's counter of each of
the two metrics, and as many counters as possible are there after as few events as possible. One customer of a hundred
is busy: an event every hour, the models in turn. The others have one every three days or so, at their own times.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from usance.bench import traffic
from usance.client import Client, RefusedError

DAYS = 90
SLOTS_PER_DAY = 96
BUSY_ONE_IN = 100
COUNTERS_PER_CUSTOMER = 100
CUSTOMERS_MIN = 100
_BATCH = 1_000
_SENDERS = 4
_METRICS = 2
_STEP = 7


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is. Customers are known by their number, see traffic.alias_of; the first ones are busy."""

    counters: int
    until: datetime

    @property
    def customers(self) -> int:
        return min(traffic.CUSTOMERS, max(CUSTOMERS_MIN, self.counters // COUNTERS_PER_CUSTOMER))

    @property
    def busy(self) -> int:
        return max(1, self.customers // BUSY_ONE_IN)

    @property
    def start(self) -> datetime:
        return self.until - timedelta(days=DAYS)


async def create_customers(client: Client, numbers: list[int]) -> list[str]:
    """Their ids. Usage is counted under an alias whether or not it is a customer's: only these can be asked for."""

    async def create(number: int) -> str:
        name, address = traffic.alias_of(number), {"line1": "1", "town": "London", "postcode": "1", "country": "GB"}
        body: dict[str, Any] = {"legalName": name, "address": address, "contacts": [], "customerAliases": [name]}
        return str((await client.post("/customers", body | {"taxStatus": "TAX_EXEMPT"}))["id"])

    return list(await asyncio.gather(*map(create, numbers)))


async def send(client: Client, past: Past) -> str:
    """Send all of it; answers the last position."""
    events = _batches(past)

    async def sending() -> list[str]:
        found = []
        # One iterator for all: each takes what comes next.
        for body in events:
            receipt = await client.send_events(body)
            if receipt.rejected or receipt.position is None:
                raise RefusedError(f"Events of the benchmark were refused: {receipt.rejected[:1]}", status=202)
            found.append(receipt.position)
        return found

    positions = await asyncio.gather(*(sending() for _ in range(_SENDERS)))
    return max((one for some in positions for one in some), key=_order)


def events(past: Past) -> int:
    """How many there are."""
    return sum(1 for _ in _events(past))


def _order(position: str) -> tuple[int, ...]:
    return tuple(int(part) for part in position.replace("/", "-").split("-"))


def _batches(past: Past) -> Iterator[bytes]:
    batch: list[bytes] = []
    for event in _events(past):
        batch.append(event)
        if len(batch) == _BATCH:
            yield b"[%b]" % b",".join(batch)
            batch = []
    if batch:
        yield b"[%b]" % b",".join(batch)


def _events(past: Past) -> Iterator[bytes]:
    """All events, in the order of time."""
    slots = DAYS * SLOTS_PER_DAY
    busy_counters = past.busy * slots // 4 * _METRICS
    quiet_each = max(1, -(-(past.counters - busy_counters) // _METRICS // (past.customers - past.busy)))
    stride = max(1, slots // quiet_each)
    quiet: list[list[int]] = [[] for _ in range(stride)]
    for customer in range(past.busy, past.customers):
        quiet[customer * _STEP % stride].append(customer)
    for slot in range(slots):
        customers = [*(range(past.busy) if slot % 4 == 0 else ()), *quiet[slot % stride]]
        happened = (past.start + timedelta(minutes=15 * slot + 7)).astimezone(UTC).isoformat().replace("+00:00", "Z")
        for customer in customers:
            model = traffic.MODELS[(slot // 4 + customer) % len(traffic.MODELS)]
            yield (
                f'{{"customerEventId":"past-{slot}-{customer}","customerAlias":"{traffic.alias_of(customer)}",'
                f'"eventType":"{traffic.EVENT_TYPE}","eventTimestamp":"{happened}",'
                f'"eventProperties":{{"model":"{model}","tokens":{1 + (slot * customer) % traffic.TOKENS_MAX},'
                '"region":"eu-west"}}'
            ).encode("ascii")
