"""Sends the traffic through the HTTP API: a handful of connections, each sending one array after the other."""

import asyncio
import time
from collections.abc import Callable

import msgspec

from usance.client import Client, RefusedError
from usance.demo.traffic import Batch, Traffic

CONNECTIONS = 6


class Played(msgspec.Struct, frozen=True):
    """What was sent, and how fast the server took it."""

    sent: int
    accepted: int
    requests: int
    seconds: float


async def play(client: Client, traffic: Traffic, *, on_sent: Callable[[int], None]) -> Played:
    """Sends everything; `on_sent(events)` hears of each answered request."""
    # Making events waits for sending them, so that memory holds a few batches and never two months.
    queue: asyncio.Queue[Batch | None] = asyncio.Queue(maxsize=CONNECTIONS)
    started = time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            senders = [group.create_task(_send(client, queue, on_sent), name="demo-sender") for _ in range(CONNECTIONS)]
            for batch in traffic.batches():
                await queue.put(batch)
            for _ in senders:
                await queue.put(None)
    except ExceptionGroup as failures:
        # The senders fail alike; the first says it for all.
        raise failures.exceptions[0] from failures
    tallies = [sender.result() for sender in senders]
    sent, accepted, requests = (sum(column) for column in zip(*tallies, strict=True))
    return Played(sent=sent, accepted=accepted, requests=requests, seconds=time.monotonic() - started)


async def _send(
    client: Client, queue: asyncio.Queue[Batch | None], on_sent: Callable[[int], None]
) -> tuple[int, int, int]:
    sent = accepted = requests = 0
    while (batch := await queue.get()) is not None:
        receipt = await client.send_events(b"[" + b",".join(batch.bodies) + b"]")
        if receipt.rejected:
            first = receipt.rejected[0]
            raise RefusedError(f"An event of the demo was refused: {first.code}, {first.message}", status=202)
        sent, accepted, requests = sent + len(batch.bodies), accepted + receipt.accepted, requests + 1
        on_sent(len(batch.bodies))
    return sent, accepted, requests
