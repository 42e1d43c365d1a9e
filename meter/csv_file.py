"""A CSV file of events, a row at a time, each with its event or with what is wrong with it. Pure.

    eventType,eventTimestamp,customerAlias,customerEventId,eventProperties#tokens
    call,2025-03-01T10:07:00Z,acme,e1,250
    call,2025-03-02,acme,,17

UTF-8, a byte order mark is allowed. Row 1 is the header; `customerEventId` and properties are optional, an empty cell
is none. A date is the start of that day in the account's zone. A cell that is written as a plain number is one.

A row without an id gets one from the content of the whole file and its own number: the same file again is the same
events again, and any other file has other ids.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import BinaryIO
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from meter import event, properties
from meter.error import BadFile, BadRow, EventRefused
from meter.event import Event, Wire
from rating import period

LINE_BYTES_MAX = 1024 * 1024
COLUMNS_MAX = 64

_REQUIRED = ("eventType", "eventTimestamp", "customerAlias")
_OPTIONAL = ("customerEventId",)
# The reference spells it both ways.
_PROPERTY = re.compile(r"event(?:Properties|Property)#(?P<name>.+)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_BOM = b"\xef\xbb\xbf"


class Row(msgspec.Struct, frozen=True):
    """A row of the file: its event, or why it has none."""

    number: int
    customer_event_id: str | None = None
    event: Event | None = None
    problem: EventRefused | None = None


class Source(msgspec.Struct, frozen=True):
    """A file and what reading it needs: a name that follows from its content, the zone of its dates, the clock, and
    what else every event has to be.
    """

    file: BinaryIO
    name: str
    zone: ZoneInfo
    received_at: int
    check: Callable[[Event], Event] | None = None


def rows(source: Source) -> Iterator[Row]:
    """The rows below the header, which is checked first."""
    reader = csv.reader(map(_decode, _lines(source.file)), strict=True)
    columns = _columns(reader)
    number = 1
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError:
            yield Row(number, problem=BadRow("The row is not UTF-8."))
        except csv.Error as exc:
            yield Row(number, problem=BadRow(f"The row is not CSV: {exc}."))
            if "end of data" in str(exc) or "larger" in str(exc):
                # An open quote has taken the following rows with it; nobody knows where the next one starts.
                return
        else:
            if cells:
                yield _row(source, columns, cells, number=number)


def _row(source: Source, columns: Sequence[str], cells: Sequence[str], *, number: int) -> Row:
    if len(cells) != len(columns):
        problem = BadRow(f"The row has {len(cells)} cells, the header has {len(columns)}.")
        return Row(number, problem=problem)
    values = dict(zip(columns, cells, strict=True))
    id_ = values.get("customerEventId") or None
    try:
        wire = _wire(values, customer_event_id=id_ or f"{source.name}-{number}", zone=source.zone)
        taken = event.take(wire, received_at=source.received_at, new_id=_no_id)
        if source.check is not None:
            taken = source.check(taken)
    except EventRefused as exc:
        return Row(number, id_, problem=exc)
    return Row(number, id_, taken)


def _wire(values: Mapping[str, str], *, customer_event_id: str, zone: ZoneInfo) -> Wire:
    return Wire(
        customer_alias=values["customerAlias"],
        event_type=values["eventType"],
        customer_event_id=customer_event_id,
        event_timestamp=_timestamp(values["eventTimestamp"].strip(), zone),
        event_properties={
            found["name"]: _value(found["name"], text)
            for column, text in values.items()
            if text and (found := _PROPERTY.fullmatch(column))
        },
    )


def _timestamp(text: str, zone: ZoneInfo) -> str:
    if not _DAY.fullmatch(text):
        return text
    try:
        return period.day_start(date.fromisoformat(text), zone).isoformat()
    except (ValueError, OverflowError):
        # A day that does not exist is refused with the words for timestamps.
        return text


def _value(name: str, text: str) -> object:
    if not _NUMBER.fullmatch(text):
        return text
    try:
        return properties.number_of(text)
    except ArithmeticError:
        raise properties.inexact(name) from None


def _columns(reader: Iterator[list[str]]) -> Sequence[str]:
    try:
        columns = [cell.strip() for cell in next(reader, [])]
    except (csv.Error, UnicodeDecodeError) as exc:
        raise BadFile(f"The first line is no CSV header in UTF-8: {exc}.") from exc
    if len(columns) > COLUMNS_MAX:
        raise BadFile(f"The header has {len(columns)} columns, {COLUMNS_MAX} are allowed.")
    for name in _REQUIRED:
        if name not in columns:
            raise BadFile(f"The header has no column `{name}`. Add it.", key=name)
    for name in columns:
        if name not in _REQUIRED + _OPTIONAL and not _PROPERTY.fullmatch(name):
            raise BadFile(
                f"The column `{name[:64]}` is not known. Properties are called eventProperties#name.", key=name
            )
    names = [name.replace("eventProperty#", "eventProperties#") for name in columns]
    if len(set(names)) < len(names):
        raise BadFile("The header names a column twice.")
    return columns


def _lines(file: BinaryIO) -> Iterator[bytes]:
    is_first = True
    while line := file.readline(LINE_BYTES_MAX):
        if is_first:
            line, is_first = line.removeprefix(_BOM), False
        yield line


def _decode(line: bytes) -> str:
    return line.decode()


def _no_id() -> UUID:
    raise AssertionError("a row without an id")
