"""Compressed bodies are whole, or nothing."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from backports import zstd

from meter import inflate
from meter.error import BadCompression, BodyTooLarge, UnsupportedMedia
from meter.inflate import Inflater

PLAIN = b'{"customerAlias":"acme"}' * 50_000
SQUEEZE: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}

both = pytest.mark.parametrize("name", ["gzip", "zstd"])


def inflated(body: bytes, name: str, *, limit: int = len(PLAIN)) -> bytes:
    return inflate.inflate(body, name, limit=limit)


@both
@pytest.mark.parametrize("plain", [b"", b"x", PLAIN])
def test_what_was_compressed_comes_back(name: str, plain: bytes) -> None:
    assert inflated(SQUEEZE[name](plain), name) == plain


@both
def test_several_members_are_one_body(name: str) -> None:
    squeeze = SQUEEZE[name]

    assert inflated(squeeze(b"a") + squeeze(b"") + squeeze(b"b" * 300_000), name) == b"a" + b"b" * 300_000


@both
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_body_may_come_in_pieces(name: str, piece: int) -> None:
    body = SQUEEZE[name](PLAIN) + SQUEEZE[name](b"end")
    inflater = Inflater(name, limit=len(PLAIN) + 3)

    found = [out for at in range(0, len(body), piece) for out in inflater.feed(body[at : at + piece])]

    inflater.finish()
    assert b"".join(found) == PLAIN + b"end"


@both
@pytest.mark.parametrize("cut", [1, 4, 12])
def test_a_body_that_ends_early_is_refused(name: str, cut: int) -> None:
    for body in (SQUEEZE[name](PLAIN), SQUEEZE[name](b"a") + SQUEEZE[name](b"b")):
        with pytest.raises(BadCompression):
            inflated(body[:-cut], name)


@both
@pytest.mark.parametrize("junk", [b"junk", b"\0\0\0\0\0\0\0\0", b"{"])
def test_a_body_that_goes_on_with_something_else_is_refused(name: str, junk: bytes) -> None:
    with pytest.raises(BadCompression):
        inflated(SQUEEZE[name](b"a") + junk, name)


@both
@pytest.mark.parametrize("body", [b"", b"{}", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"])
def test_what_is_not_compressed_is_refused(name: str, body: bytes) -> None:
    with pytest.raises(BadCompression):
        inflated(body, name)


@both
def test_damage_is_noticed(name: str) -> None:
    options = {zstd.CompressionParameter.checksum_flag: 1}
    body = bytearray(gzip.compress(PLAIN) if name == "gzip" else zstd.compress(PLAIN, options=options))
    body[-5] ^= 0xFF

    with pytest.raises(BadCompression):
        inflated(bytes(body), name)


@both
def test_a_bomb_is_stopped_at_the_limit(name: str) -> None:
    bomb = SQUEEZE[name](bytes(64 * 1024 * 1024))
    inflater = Inflater(name, limit=1_000_000)
    taken: list[bytes] = []

    with pytest.raises(BodyTooLarge):
        taken.extend(inflater.feed(bomb))

    assert sum(map(len, taken)) <= 1_000_000


def test_a_window_that_is_too_large_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)

    with pytest.raises(BadCompression):
        inflated(compressor.compress(b"x" * 100) + compressor.flush(), "zstd")


@pytest.mark.parametrize(
    ("header", "name"),
    [(None, None), ("identity", None), ("gzip", "gzip"), (" GZip ", "gzip"), ("x-gzip", "gzip"), ("ZSTD", "zstd")],
)
def test_encodings_have_names(header: str | None, name: str | None) -> None:
    assert inflate.encoding(header) == name


@pytest.mark.parametrize("header", ["br", "deflate", "gzip, zstd", "", "compress"])
def test_other_encodings_are_refused(header: str) -> None:
    if header:
        with pytest.raises(UnsupportedMedia):
            inflate.encoding(header)
    else:
        assert inflate.encoding(header) is None


def test_raw_deflate_is_not_gzip() -> None:
    with pytest.raises(BadCompression):
        inflated(zlib.compress(b"a"), "gzip")
