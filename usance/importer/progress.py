"""How far an import has come, kept in a small file so that a killed import goes on where it was.

The file lies in `<data-dir>/imports/` and is named by what makes two imports the same one: the account, the beginning
of the file and the mapping. It is believed only while the file is untouched (size and time of change); otherwise
reading starts over, which costs time and nothing else: the ids of the rows see to it that nothing counts twice. It is
removed when the import is done.
"""

import hashlib
import os
from pathlib import Path

import msgspec

from usance.importer.mapping import FieldMap
from usance.importer.rows import Place

HEAD_BYTES = 64 * 1024


class Progress(msgspec.Struct, frozen=True):
    """All rows up to `place` have been answered by the server."""

    size: int
    changed_ns: int
    place: Place = Place()
    accepted: int = 0
    refused: int = 0
    # The list of refused rows is cut back to this length before going on.
    refused_bytes: int = 0


class ProgressFile:
    """Where one import's progress is kept."""

    def __init__(self, folder: Path, *, account: str, file: Path, fields: FieldMap) -> None:
        with file.open("rb") as opened:
            head = opened.read(HEAD_BYTES)
        said = msgspec.json.encode([account, repr(fields)]) + head
        self.path = folder / f"{hashlib.sha256(said).hexdigest()[:16]}.json"
        self.refused_path = self.path.with_suffix(".refused.ndjson")
        status = file.stat()
        self._fresh = Progress(size=status.st_size, changed_ns=status.st_mtime_ns)

    def load(self) -> Progress:
        """The progress so far, or a fresh start where there is none to be believed."""
        try:
            stored = msgspec.json.decode(self.path.read_bytes(), type=Progress)
        except (FileNotFoundError, msgspec.DecodeError):  # torn files are not possible, foreign ones are
            return self._fresh
        untouched = (stored.size, stored.changed_ns) == (self._fresh.size, self._fresh.changed_ns)
        return stored if untouched else self._fresh

    def save(self, progress: Progress) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".tmp")
        draft.write_bytes(msgspec.json.encode(progress))
        os.replace(draft, self.path)  # noqa: PTH105 (atomic on every system, and said so)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
