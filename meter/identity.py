"""Who an event is, and whether it is the same again. Pure.

    key     16 bytes from customerEventId alone, within an account: no timestamp, no window
    digest  64 bits over the content: equal key and equal digest is the same event again, another digest is a correction

A canonical lower-case UUID is its own key, so that time-ordered ids stay time-ordered in the index. Every other id
becomes a UUIDv8 through a hash; so does an id that looks like a UUIDv8, lest somebody names the key of another id.
"""

import re
from hashlib import blake2b
from uuid import UUID

from xxhash import xxh3_64_intdigest

# Makes a number without a sign one with a sign.
_HALF = 1 << 63
_OWN_KEY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-79a-f][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_HASHED_KEY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def key(customer_event_id: str) -> bytes:
    """The key of an id."""
    if len(customer_event_id) == 36 and _OWN_KEY.fullmatch(customer_event_id):
        return bytes.fromhex(customer_event_id.replace("-", ""))
    hashed = bytearray(blake2b(customer_event_id.encode(), digest_size=16, person=b"usance.event").digest())
    hashed[6] = 0x80 | hashed[6] & 0x0F
    hashed[8] = 0x80 | hashed[8] & 0x3F
    return bytes(hashed)


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
    # Neither alias nor type can contain a zero, so the parts cannot run into each other.
    content = f"{alias}\0{event_type}\0{'' if timestamp is None else timestamp}\0".encode() + properties
    # No cryptographic hash: it only tells apart what one sender says of one id, and costs a fifth. 0 is a cancellation.
    return xxh3_64_intdigest(content) - _HALF or 1
