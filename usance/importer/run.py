"""The import itself: read, map, send, remember; batch by batch, in the order of the file.

At most `connections` batches are on their way; their answers are taken in order, so that the saved progress never lies
ahead of what the server has. A file that names its own ids is sent one batch at a time: of two rows with one id the
last received wins, and that must be the last in the file.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from usance.client import ENCODER, Client, Receipt, RefusedError
from usance.importer import mapping
from usance.importer.mapping import FieldMap, RowError
from usance.importer.progress import Progress, ProgressFile
from usance.importer.refused import Refusal, RefusedFile
from usance.importer.rows import Place, Row, RowFile

BATCH_ROWS_MAX = 1000
BATCH_BYTES_MAX = 1024 * 1024
CONNECTIONS = 4


class Source(msgspec.Struct, frozen=True):
    """What is imported."""

    path: Path
    fields: FieldMap
    is_ndjson: bool
    delimiter: str = ","


class Outcome(msgspec.Struct, frozen=True):
    """What the whole import came to, earlier runs of it included."""

    accepted: int
    refused: int
    seconds: float
    rows_now: int
    resumed_at_row: int
    zoneless: bool
    first_refused: tuple[Refusal, ...]
    refused_path: Path


class Batch(msgspec.Struct):
    """Rows that travel together: the events, and the refusals that did not even travel."""

    bodies: list[bytes] = []
    rows: list[tuple[int, str]] = []
    refusals: list[Refusal] = []
    byte_count: int = 0
    zoneless: bool = False
    place: Place = Place()


async def run(source: Source, client: Client, kept: ProgressFile, *, on_bytes: Callable[[int, int], None]) -> Outcome:
    """Imports the file; `on_bytes(offset, rows)` hears how far it has come."""
    progress = kept.load()
    started, start_row, zoneless = time.monotonic(), progress.place.row, False
    limit = 1 if source.fields.takes_ids_from_file else CONNECTIONS
    with (
        RowFile(source.path, is_ndjson=source.is_ndjson, delimiter=source.delimiter) as rows,
        RefusedFile(kept.refused_path, keep_bytes=progress.refused_bytes) as refused,
    ):
        if start_row:
            rows.go_on(progress.place)
        on_bytes(progress.place.offset, start_row)
        sender = _Sender(client, limit)
        try:
            async for batch, receipt in sender.answers(_batches(rows, source.fields)):
                progress = _advance(progress, batch, receipt, refused)
                zoneless = zoneless or batch.zoneless
                kept.save(progress)
                on_bytes(progress.place.offset, progress.place.row)
        finally:
            await sender.drop()
    kept.forget()
    return Outcome(
        accepted=progress.accepted,
        refused=progress.refused,
        seconds=time.monotonic() - started,
        rows_now=progress.place.row - start_row,
        resumed_at_row=start_row,
        zoneless=zoneless,
        first_refused=tuple(refused.first),
        refused_path=refused.path,
    )


class _Sender:
    """Keeps a few batches on their way and gives the answers back in order."""

    def __init__(self, client: Client, limit: int) -> None:
        self._client = client
        self._limit = limit
        self._flying: deque[tuple[Batch, asyncio.Task[Receipt]]] = deque()

    async def answers(self, batches: Iterator[Batch]) -> Any:
        for batch in batches:
            self._flying.append((batch, asyncio.create_task(_send(self._client, batch.bodies), name="import-batch")))
            while len(self._flying) >= self._limit:
                yield await self._land()
        while self._flying:
            yield await self._land()

    async def _land(self) -> tuple[Batch, Receipt]:
        batch, task = self._flying[0]
        receipt = await task
        self._flying.popleft()
        return batch, receipt

    async def drop(self) -> None:
        """After a failure: nobody waits for what is still on its way."""
        tasks = [task for _, task in self._flying]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send(client: Client, bodies: list[bytes]) -> Receipt:
    if not bodies:
        return Receipt(accepted=0)
    try:
        return await client.send_events(b"[" + b",".join(bodies) + b"]")
    except RefusedError as exc:
        if exc.status != 413 or len(bodies) == 1:
            raise
    # The server takes less than we thought: two halves, the second counted behind the first.
    half = len(bodies) // 2
    first, second = await _send(client, bodies[:half]), await _send(client, bodies[half:])
    moved = tuple(msgspec.structs.replace(r, index=r.index + half) for r in second.rejected)
    return Receipt(accepted=first.accepted + second.accepted, rejected=first.rejected + moved)


def _batches(rows: RowFile, fields: FieldMap) -> Iterator[Batch]:
    batch = Batch()
    for row in rows:
        _put(batch, row, fields)
        batch.place = rows.place
        if len(batch.rows) + len(batch.refusals) >= BATCH_ROWS_MAX or batch.byte_count >= BATCH_BYTES_MAX:
            yield batch
            batch = Batch()
    if batch.rows or batch.refusals:
        yield batch


def _put(batch: Batch, row: Row, fields: FieldMap) -> None:
    try:
        if row.problem is not None:
            raise row.problem
        event, zoneless = mapping.event(fields, row.values, row_id=row.id)
        body = _encode(event)
    except RowError as exc:
        batch.refusals.append(Refusal(row=row.number, customer_event_id=row.id, code=exc.code, message=str(exc)))
        return
    batch.bodies.append(body)
    batch.rows.append((row.number, event["customerEventId"]))
    batch.byte_count += len(body)
    batch.zoneless = batch.zoneless or zoneless


def _encode(event: dict[str, Any]) -> bytes:
    try:
        return ENCODER.encode(event)
    except (UnicodeEncodeError, ValueError, OverflowError) as exc:  # lone surrogates from "\ud800", say
        raise RowError("BAD_ENCODING", f"The row cannot be written as JSON: {exc}.") from exc


def _advance(progress: Progress, batch: Batch, receipt: Receipt, refused: RefusedFile) -> Progress:
    refusals = batch.refusals + [
        Refusal(
            row=batch.rows[rejection.index][0],
            customer_event_id=batch.rows[rejection.index][1],
            code=rejection.code,
            message=rejection.message,
        )
        for rejection in receipt.rejected
    ]
    return msgspec.structs.replace(
        progress,
        place=batch.place,
        accepted=progress.accepted + len(batch.rows) - len(receipt.rejected),
        refused=progress.refused + len(refusals),
        refused_bytes=refused.add(sorted(refusals, key=lambda refusal: refusal.row)),
    )
