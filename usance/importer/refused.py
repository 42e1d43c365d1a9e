"""The rows that could not be imported: all of them in a file, the first few kept to be shown.

One JSON object per line: `{"row": 17, "customerEventId": "...", "code": "BAD_TIMESTAMP", "message": "..."}`. The file
exists only when there is something in it.
"""

from pathlib import Path
from typing import BinaryIO, Self

import msgspec

SHOWN_MAX = 20


class Refusal(msgspec.Struct, frozen=True, rename="camel"):
    """One row and why it is not in the account."""

    row: int
    customer_event_id: str
    code: str
    message: str


class RefusedFile:
    """The list of refused rows; a context manager."""

    def __init__(self, path: Path, *, keep_bytes: int) -> None:
        self.path = path
        self.first: list[Refusal] = []
        self._bytes = keep_bytes
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._bytes == 0:
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            self._open()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, refusals: list[Refusal]) -> int:
        """Appends to the list; returns its length in bytes."""
        if refusals:
            self.first.extend(refusals[: max(0, SHOWN_MAX - len(self.first))])
            file = self._file or self._open()
            self._bytes += file.write(b"".join(msgspec.json.encode(refusal) + b"\n" for refusal in refusals))
            file.flush()
        return self._bytes

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        # What a killed import listed after its last saved progress will be listed again.
        self._file.truncate(min(self._bytes, self.path.stat().st_size))
        return self._file
