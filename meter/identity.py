"""Who an event is, and whether it is the same again. Pure.

    key     16 bytes from customerEventId alone, within an account: no timestamp, no window
    digest  64 bits over the content: equal key and equal digest is the same event again, another digest is a correction

A canonical lower-case UUID is its own key, so that time-ordered ids stay time-ordered in the index. Every other id
becomes a UUIDv8 through a hash; so does an id that looks like a UUIDv8, lest somebody names the key of another id.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from uuid import UUID

from xxhash import xxh3_64_intdigest

# Makes a number without a sign one with a sign.
_HALF = 1 << 63
_OWN_KEY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-79a-f][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_HASHED_KEY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_UUID_CHARACTERS, _UUID_DASHES, _VERSION_PLACE = 36, 4, 14
_DIGITS = b"0123456789abcdef"


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
    joined = "".join(customer_event_ids)
    # The lengths as well: a short and a long id may look like two of the right length when they are put together.
    if (
        {*map(len, customer_event_ids)} == {_UUID_CHARACTERS}
        and joined.isascii()
        # Nothing but digits between the dashes, and the dashes where they belong.
        and joined.encode().translate(None, _DIGITS) == b"-" * _UUID_DASHES * len(customer_event_ids)
        and not any(joined[place::_UUID_CHARACTERS].strip("-") for place in (8, 13, 18, 23))
        and "8" not in joined[_VERSION_PLACE::_UUID_CHARACTERS]
    ):
        return bytes.fromhex(joined.replace("-", ""))
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
    # Neither alias nor type can contain a zero, so the parts cannot run into each other.
    content = f"{alias}\0{event_type}\0{'' if timestamp is None else timestamp}\0".encode() + properties
    # No cryptographic hash: it only tells apart what one sender says of one id, and costs a fifth. 0 is a cancellation.
    return xxh3_64_intdigest(content) - _HALF or 1


def digests(
    aliases: Sequence[str], event_types: Sequence[str], timestamps: Sequence[int | None], properties: Sequence[bytes]
) -> list[int]:
    """The digests of many events; no call for each, which would be half of the cost."""
    return [
        xxh3_64_intdigest(f"{alias}\0{event_type}\0{'' if at is None else at}\0".encode() + text) - _HALF or 1
        for alias, event_type, at, text in zip(aliases, event_types, timestamps, properties, strict=True)
    ]
