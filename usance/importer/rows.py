"""The rows of a CSV or NDJSON file of any size, one at a time, each with an id that follows from the file alone.

    file    bytes on disk, UTF-8, a byte order mark is allowed
    row     Row(number, id, values); number counts data rows from 1, the header and blank lines do not count
    place   Place(offset, row, chain): where reading can go on after a row, small enough to store

The id of a row is a hash of everything in the file up to and including that row, and its number. So the same file gives
the same ids wherever it lies and however often it is read; rows appended later leave the ids before them as they are;
and two equal rows of one file stay two events. A row that differs gives other ids from there on.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import msgspec

from usance.importer.mapping import RowError

LINE_BYTES_MAX = 1024 * 1024
SAMPLE_ROWS_MAX = 1000
_BOM = b"\xef\xbb\xbf"
_DECODER = msgspec.json.Decoder(float_hook=Decimal)


class SourceError(Exception):
    """The file cannot be read as what it should be; the message says where and what to do."""

    code: ClassVar[str] = "BAD_FILE"


class Place(msgspec.Struct, frozen=True):
    """Everything needed to go on reading behind a row."""

    offset: int = 0
    row: int = 0
    chain: str = ""


class Row(msgspec.Struct, frozen=True):
    """One row: its values by column, or why it has none."""

    number: int
    id: str
    values: Mapping[str, Any]
    problem: RowError | None = None


class RowFile:
    """An open file of rows; a context manager and an iterator."""

    def __init__(self, path: Path, *, is_ndjson: bool, delimiter: str = ",") -> None:
        self.is_ndjson = is_ndjson
        self._delimiter = delimiter
        self._file: BinaryIO = path.open("rb")
        self._offset = 0
        self._row = 0
        self._chain = b""
        self._pending = b""
        self.header: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        if not self.is_ndjson:
            try:
                self._read_header()
            except BaseException:
                self._file.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Row]:
        return self._read_ndjson() if self.is_ndjson else self._read_csv()

    @property
    def place(self) -> Place:
        """Behind the row that was read last."""
        return Place(offset=self._offset, row=self._row, chain=self._chain.hex())

    def go_on(self, place: Place) -> None:
        """Continues behind a row that was read earlier, perhaps by another process."""
        self._file.seek(place.offset)
        self._offset, self._row, self._chain = place.offset, place.row, bytes.fromhex(place.chain)

    def _read_header(self) -> None:
        try:
            cells = next(csv.reader(self._texts(), delimiter=self._delimiter, strict=True), [])
        except (csv.Error, UnicodeDecodeError) as exc:
            raise SourceError(f"The first line is not a CSV header in UTF-8: {exc}.") from exc
        if not any(cells):
            raise SourceError("The file has no header line: its first line must name the columns.")
        if len(set(cells)) < len(cells):
            twice = sorted({cell for cell in cells if cells.count(cell) > 1})
            raise SourceError(f"The header names a column twice: {', '.join(twice)}.")
        self.header = tuple(cells)
        self._chain = hashlib.sha256(self._taken()).digest()

    def _read_csv(self) -> Iterator[Row]:
        reader = csv.reader(self._texts(), delimiter=self._delimiter, strict=True)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError:
                yield self._bad("BAD_ENCODING", "The row is not UTF-8.")
            except csv.Error as exc:
                self._stop_if_swallowed(exc)
                yield self._bad("BAD_CSV", f"The row is not CSV: {exc}.")
            else:
                if cells:
                    yield self._csv_row(cells)

    def _csv_row(self, cells: Sequence[str]) -> Row:
        if len(cells) != len(self.header):
            return self._bad("BAD_CSV", f"The row has {len(cells)} cells, the header has {len(self.header)}.")
        return self._good(dict(zip(self.header, cells, strict=True)))

    def _stop_if_swallowed(self, exc: csv.Error) -> None:
        # An open quote takes the following rows with it, so there is no telling where the next row starts.
        if "field larger" in str(exc) or "end of data" in str(exc):
            raise SourceError(f"Row {self._row + 1}: a quote is opened and never closed ({exc}).") from exc

    def _read_ndjson(self) -> Iterator[Row]:
        for line in self._lines():
            if not line.strip():
                continue
            try:
                values = _DECODER.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
                yield self._bad("BAD_JSON", f"The line is not JSON in UTF-8: {exc}.")
                continue
            if isinstance(values, dict):
                yield self._good(values)
            else:
                yield self._bad("BAD_JSON", "The line is not a JSON object.")

    def _good(self, values: Mapping[str, Any]) -> Row:
        return Row(number=self._count(), id=self._id(), values=values)

    def _bad(self, code: str, message: str) -> Row:
        return Row(number=self._count(), id=self._id(), values={}, problem=RowError(code, message))

    def _count(self) -> int:
        self._row += 1
        # The end of the line is left out: a last row without one keeps its id when rows are appended.
        self._chain = hashlib.sha256(self._chain + self._taken().rstrip(b"\r\n")).digest()
        return self._row

    def _id(self) -> str:
        return f"{self._chain[:16].hex()}-{self._row}"

    def _taken(self) -> bytes:
        taken, self._pending = self._pending, b""
        return taken

    def _texts(self) -> Iterator[str]:
        # An object and no generator: a generator would be finished by the first line that is not UTF-8.
        return map(_decode, self._lines())

    def _lines(self) -> Iterator[bytes]:
        while line := self._file.readline(LINE_BYTES_MAX):
            if len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
                raise SourceError(
                    f"Row {self._row + 1} is longer than {LINE_BYTES_MAX // 1024} KiB. Is this CSV or NDJSON?"
                )
            if self._offset == 0 and line.startswith(_BOM):
                self._offset, line = len(_BOM), line[len(_BOM) :]
            self._offset += len(line)
            self._pending += line
            yield line


def sample_columns(path: Path) -> tuple[str, ...]:
    """The names that the first rows of an NDJSON file use, dotted where objects lie in objects."""
    names: dict[str, None] = {}
    with RowFile(path, is_ndjson=True) as source:
        for row in source:
            names |= dict.fromkeys(_dotted(row.values))
            if row.number >= SAMPLE_ROWS_MAX:
                break
    return tuple(names)


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict) and prefix.count(".") < 5:
            yield from _dotted(value, f"{prefix}{name}.")


def _decode(line: bytes) -> str:
    return line.decode("utf-8")
