"""POST /usage-events/csv: a CSV file of events, as the body or as the first file of a form.

    202 {accepted, position, rejected: [{row, customerEventId, code, message}], rejectedCount}; all bad: 400

The file lies on disk while it is read, so its size is no matter of memory; and nothing is taken from a file that did
not arrive whole. Its rows go to the stream in pieces: if that fails half-way, the reply says from which row on to send.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

import msgspec
from aiohttp import BodyPartReader, web

from meter import csv_file, inflate
from meter.csv_file import Row, Source
from meter.error import BadFile, BodyTooLarge, EmptyBatch, NothingAccepted, StreamError, UnsupportedMedia
from meter.event import Event
from meter.inflate import Inflater

FILE_BYTES_MAX = 256 * 1024 * 1024
REJECTED_MAX = 1_000
_MEMORY_BYTES_MAX = 4 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
_ROWS_AT_ONCE = 1_000

Append = Callable[[Sequence[Event]], Awaitable[str]]
Open = Callable[[BinaryIO, str], Source]


class RowRejection(msgspec.Struct, frozen=True, rename="camel"):
    """One row of the file that was refused."""

    row: int
    customer_event_id: str | None
    code: str
    message: str


class Uploaded(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a file."""

    accepted: int
    position: str
    rejected: list[RowRejection]
    rejected_count: int


async def take(request: web.Request, *, open_: Open, append: Append) -> Uploaded:
    """Read a file from a request and let its good rows in."""
    with SpooledTemporaryFile(max_size=_MEMORY_BYTES_MAX) as spooled:
        file = cast("BinaryIO", spooled)
        name = await _spool(request, file)
        file.seek(0)
        return await _append_all(open_(file, name), append)


async def _append_all(source: Source, append: Append) -> Uploaded:
    events: list[Event] = []
    refused: list[Row] = []
    accepted = refused_count = first = 0
    position = ""
    for row in csv_file.rows(source):
        if row.event is not None:
            first = first or row.number
            events.append(row.event)
        else:
            refused_count += 1
            refused += [row] if len(refused) < REJECTED_MAX else []
            if refused_count % _ROWS_AT_ONCE == 0:
                # Nothing else lets other requests have their turn.
                await asyncio.sleep(0)
        if len(events) >= _ROWS_AT_ONCE:
            position = await _append(events, append, first=first, accepted=accepted)
            accepted, first, events = accepted + len(events), 0, []
    if events:
        position = await _append(events, append, first=first, accepted=accepted)
        accepted += len(events)
    if not accepted:
        raise _nothing(refused)
    return Uploaded(accepted, position, [_rejection(row) for row in refused], refused_count)


async def _append(events: Sequence[Event], append: Append, *, first: int, accepted: int) -> str:
    try:
        return await append(events)
    except StreamError as exc:
        if not accepted:
            raise
        message = f"{type(exc).__doc__} Rows before {first} were taken; the others were not, or not all of them."
        raise type(exc)(message) from exc


def _nothing(refused: Sequence[Row]) -> EmptyBatch | NothingAccepted:
    if not refused:
        return EmptyBatch("The file has no rows below its header. Send at least one event.")
    problems = []
    for row in refused:
        if row.problem is not None:
            row.problem.key = f"[{row.number}].{row.problem.key}" if row.problem.key else f"[{row.number}]"
            problems.append(row.problem)
    return NothingAccepted(problems)


def _rejection(row: Row) -> RowRejection:
    if row.problem is None:
        raise TypeError(row)
    return RowRejection(row.number, row.customer_event_id, row.problem.code, str(row.problem))


async def _spool(request: web.Request, file: BinaryIO) -> str:
    """Put the plain file down; answers a name that follows from its content."""
    digest, size = hashlib.sha256(), 0
    async for piece in _plain(request):
        size += len(piece)
        if size > FILE_BYTES_MAX:
            raise BodyTooLarge(f"A file may have {FILE_BYTES_MAX >> 20} MiB. Send it in parts.")
        digest.update(piece)
        file.write(piece)
    return digest.hexdigest()[:32]


async def _plain(request: web.Request) -> AsyncIterator[bytes]:
    encoding = inflate.encoding(request.headers.get("Content-Encoding"))
    inflater = None if encoding is None else Inflater(encoding, limit=FILE_BYTES_MAX)
    async for piece in _pieces(request):
        if inflater is None:
            yield piece
        else:
            for plain in inflater.feed(piece):
                yield plain
    if inflater is not None:
        inflater.finish()


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    match request.content_type:
        case "text/csv":
            async for piece in request.content.iter_chunked(_PIECE_BYTES):
                yield piece
        case "multipart/form-data":
            part = await _first_file(request)
            while piece := await part.read_chunk(_PIECE_BYTES):
                yield piece
        case _:
            raise UnsupportedMedia("Send the file as `Content-Type: text/csv`, or as multipart/form-data.")


async def _first_file(request: web.Request) -> BodyPartReader:
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if isinstance(part, BodyPartReader) and part.filename is not None:
                return part
    except ValueError as exc:
        raise BadFile("The form cannot be read. Send multipart/form-data with one file.") from exc
    raise BadFile("The form has no file. Send one.")
