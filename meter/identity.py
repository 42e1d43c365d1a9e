"""Who an event is, and whether it is the same again. Pure.

    key     16 bytes from customerEventId alone, within an account: no timestamp, no window
    digest  64 bits over the content: equal key and equal digest is the same event again, another digest is a correction

A canonical lower-case UUID is its own key, so that time-ordered ids stay time-ordered in the index. Every other id
becomes a UUIDv8 through a hash; so does an id that looks like a UUIDv8, lest somebody names the key of another id.
"""

import re
from binascii import unhexlify
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

# Makes a number without a sign one with a sign.
_HALF = 1 << 63
_MASK = (1 << 64) - 1
# The parts of a content are hashed apart, each kind by a hash of its own: the same text as alias and as type, or the
# two exchanged, is another sum.
_ALIAS_SEED, _TYPE_SEED = 1, 2
# Odd, so that no two times have the same part: 2**64 divided by the golden ratio.
_TIME_FACTOR = 0x9E37_79B9_7F4A_7C15
# No event happened in 1969.
_UNTIMED = -1
# Made once, which for a hundred events is worth it.
_SIGNED, _UNSIGNED = np.dtype(np.int64), np.dtype(np.uint64)
_TIME_FACTOR_COLUMN = np.array([_TIME_FACTOR], _UNSIGNED)
_UNTIMED_COLUMN = np.array([_UNTIMED], _SIGNED)
_OWN_KEY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-79a-f][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_HASHED_KEY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_UUID_LINE, _VERSION_PLACE = 37, 14
_DIGITS = b"0123456789abcdef"

# The names that some events have, each once, and where among them the name of each event stands.
Named: TypeAlias = tuple[Sequence[str], npt.NDArray[np.uint16]]


def key(customer_event_id: str) -> bytes:
    """The key of an id."""
    if len(customer_event_id) == 36 and _OWN_KEY.fullmatch(customer_event_id):
        return bytes.fromhex(customer_event_id.replace("-", ""))
    hashed = bytearray(blake2b(customer_event_id.encode(), digest_size=16, person=b"usance.event").digest())
    hashed[6] = 0x80 | hashed[6] & 0x0F
    hashed[8] = 0x80 | hashed[8] & 0x3F
    return bytes(hashed)


def own_keys(customer_event_ids: Sequence[str]) -> bytes | None:
    """The keys of many ids, one after the other, if each is its own key: a tenth of the cost of one by one."""
    lines = "\n".join(customer_event_ids).encode() + b"\n"
    if (
        # Nothing but digits beside the dashes and the line feeds, and these where they belong.
        len(lines) == _UUID_LINE * len(customer_event_ids)
        and lines.translate(None, _DIGITS) == b"----\n" * len(customer_event_ids)
        and not any(lines[place::_UUID_LINE].strip(b"-") for place in (8, 13, 18, 23))
        and not lines[_UUID_LINE - 1 :: _UUID_LINE].strip(b"\n")
        and b"8" not in lines[_VERSION_PLACE::_UUID_LINE]
    ):
        return unhexlify(lines.translate(None, b"-\n"))
    return None


def named(text: str) -> bytes:
    """The key that a path names: the `id` that the API shows, or else a customerEventId.

    Only an id can look like a UUIDv8; a customerEventId that looks like one is reached by its id.
    """
    return UUID(text).bytes if len(text) == 36 and _HASHED_KEY.fullmatch(text) else key(text)


def is_id(key_: bytes) -> bool:
    """Whether a key is the id itself, which then need not be kept beside it: only hashes are of version 8."""
    return key_[6] & 0xF0 != 0x80


def public_id(key_: bytes) -> UUID:
    """The `id` that the API shows: it follows from the key, so a repeat answers the same id."""
    return UUID(bytes=key_)


def digest(alias: str, event_type: str, timestamp: int | None, properties: bytes) -> int:
    """The content as a signed 64-bit number. Without a timestamp of the sender's, a plain retry is the same event."""
    # No cryptographic hash: it only tells apart what one sender says of one id. A sum, which columns have at once.
    found = (
        xxh3_64_intdigest(properties)
        + xxh3_64_intdigest(alias.encode(), _ALIAS_SEED)
        + xxh3_64_intdigest(event_type.encode(), _TYPE_SEED)
        + (_UNTIMED if timestamp is None else timestamp) * _TIME_FACTOR
    )
    # 0 is a cancellation.
    return ((found + _HALF) & _MASK) - _HALF or 1


def digests(
    properties: Sequence[bytes], *, aliases: Named, types: Named, timestamps: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.int64]:
    """The digests of many events, at a third of the cost; their times, if all of them have one of the sender's."""
    found = np.fromiter(map(xxh3_64_intdigest, properties), _UNSIGNED, len(properties))
    found += _hashes(aliases, _ALIAS_SEED)
    found += _hashes(types, _TYPE_SEED)
    times = _UNTIMED_COLUMN if timestamps is None else timestamps
    found += times.view(_UNSIGNED) * _TIME_FACTOR_COLUMN
    if not found.all():
        found[found == 0] = 1
    return found.view(_SIGNED)


def _hashes(named: Named, seed: int) -> npt.NDArray[np.uint64] | np.uint64:
    """The hash of each event's name, or that of the only one."""
    names, places = named
    if len(names) == 1:
        return np.uint64(xxh3_64_intdigest(names[0].encode(), seed))
    return np.array([xxh3_64_intdigest(name.encode(), seed) for name in names], _UNSIGNED)[places]
