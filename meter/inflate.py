"""Compressed request bodies, inflated within a limit and whole or not at all. Pure.

    inflater = Inflater("gzip", limit=...)
    for piece in pieces: inflater.feed(piece) -> the next pieces of plain bytes
    inflater.finish()

Several members or frames, one after the other, are one body, as both formats say. A body that ends early, goes on with
something else, or is damaged is BadCompression: nothing is taken from it. What inflates beyond the limit is
BodyTooLarge before it takes memory.
"""

import zlib
from collections.abc import Iterator
from typing import Any, Protocol

from backports import zstd

from meter.error import BadCompression, BodyTooLarge, UnsupportedMedia

_PIECE_BYTES = 256 * 1024
# Windows larger than 8 MiB are not for request bodies; the standard asks nobody to take more.
_WINDOW_LOG_MAX = 23
_GZIP = 16 + zlib.MAX_WBITS


class _Member(Protocol):
    """One gzip member or zstd frame."""

    eof: bool
    unused_data: bytes

    def inflate(self, data: bytes, limit: int) -> bytes:
        """Up to `limit` bytes more; call again with nothing for the rest."""
        ...


def encoding(header: str | None) -> str | None:
    """How a body is compressed, from its Content-Encoding; None: it is not."""
    name = (header or "identity").strip().lower()
    match name:
        case "identity":
            return None
        case "gzip" | "x-gzip":
            return "gzip"
        case "zstd":
            return "zstd"
    raise UnsupportedMedia(f"The content encoding `{name[:64]}` is not read. Send gzip, zstd, or none.")


def inflate(body: bytes, name: str | None, *, limit: int) -> bytes:
    """A whole body; `name` is what `encoding` answered."""
    if name is None:
        return body
    inflater = Inflater(name, limit=limit)
    plain = b"".join(inflater.feed(body))
    inflater.finish()
    return plain


class Inflater:
    """Inflates a body piece by piece."""

    def __init__(self, name: str, *, limit: int) -> None:
        self._name = name
        self._left = limit
        self._member: _Member | None = None
        self._is_empty = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Plain bytes of the next piece of the body, in bounded pieces."""
        while data or (self._member is not None and not self._member.eof):
            self._is_empty = False
            member = self._member = self._member or _member(self._name)
            try:
                plain = member.inflate(data, _PIECE_BYTES)
            except (zlib.error, zstd.ZstdError) as exc:
                raise BadCompression(f"The body is damaged: {exc}. Send it again, whole.") from exc
            self._left -= len(plain)
            if self._left < 0:
                raise BodyTooLarge("The body is too large once it is inflated. Send the events in several requests.")
            if plain:
                yield plain
            data = b""
            if member.eof:
                data, self._member = member.unused_data, None
            elif len(plain) < _PIECE_BYTES:
                return

    def finish(self) -> None:
        """Say that this was all; a body that ends inside of a member is refused."""
        if self._member is not None or self._is_empty:
            raise BadCompression("The compressed body ended early. Send it again, whole.")


class _Gzip:
    def __init__(self) -> None:
        self._inner: Any = zlib.decompressobj(_GZIP)

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def inflate(self, data: bytes, limit: int) -> bytes:
        return bytes(self._inner.decompress(self._inner.unconsumed_tail + data, limit))


class _Zstd:
    def __init__(self) -> None:
        options = {int(zstd.DecompressionParameter.window_log_max): _WINDOW_LOG_MAX}
        self._inner: Any = zstd.ZstdDecompressor(options=options)

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def inflate(self, data: bytes, limit: int) -> bytes:
        return bytes(self._inner.decompress(data, max_length=limit))


def _member(name: str) -> Any:
    return _Gzip() if name == "gzip" else _Zstd()
