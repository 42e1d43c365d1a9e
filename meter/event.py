"""The usage event on the wire: what a sender may write, its limits, and what becomes of it. Pure.

    {"customerEventId"?, "customerAlias", "eventType", "eventTimestamp"?, "eventProperties"?}   one event, as JSON
    -> Event      normalised, with its identity: ready for the stream

Everything is checked here and nowhere later: whatever passed can be stored. Normalised means that equal content has
equal bytes: property names sorted, numbers plain without zeros that say nothing, instants as microseconds since 1970
in UTC.

A good event costs one typed decode. A bad one is decoded a second time without types, to say exactly what is wrong.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from meter import diagnosis, identity, properties, timestamp
from meter.diagnosis import UNREADABLE, Shape
from meter.error import EventTooLarge, InvalidValue
from store.event_version import CANCELLATION

NewId: TypeAlias = Callable[[], UUID]

EVENT_BYTES_MAX = 8 * 1024
TEXT_CHARACTERS_MAX = 255


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event that was accepted."""

    key: bytes
    digest: int
    customer_event_id: str
    customer_alias: str
    event_type: str
    timestamp: int
    # False: the sender gave no timestamp, so it is the time of receipt and no part of the content.
    has_own_timestamp: bool
    properties: bytes


class Wire(msgspec.Struct, frozen=True, gc=False, rename="camel", forbid_unknown_fields=True):
    """An event as a sender writes it. Properties were decoded with `properties.number_of` as float hook."""

    customer_alias: str
    event_type: str
    customer_event_id: str | None = None
    event_timestamp: str | None = None
    event_properties: dict[str, Any] = {}


def decode(body: bytes | msgspec.Raw, *, received_at: int, new_id: NewId) -> Event:
    """One event from its JSON; every failure is an EventRefused. `received_at`: microseconds since 1970."""
    try:
        wire = _DECODER.decode(body)
    except UNREADABLE as exc:
        raise diagnosis.diagnose(body, exc, _SHAPE) or diagnosis.unfit(exc) from exc
    return take(wire, received_at=received_at, new_id=new_id)


def decode_all(body: bytes) -> list[Wire] | None:
    """An array of events, read at once, which is much cheaper than one by one; None if any of them cannot be read."""
    try:
        return _ALL_DECODER.decode(body)
    except UNREADABLE:
        return None


def take(wire: Wire, *, received_at: int, new_id: NewId) -> Event:
    """One event from its fields."""
    alias, event_type, written, customer_event_id = (
        wire.customer_alias,
        wire.event_type,
        wire.event_timestamp,
        wire.customer_event_id,
    )
    check_names(aliases=(alias,), types=(event_type,))
    at = received_at if written is None else timestamp.read(written, received_at)
    encoded = properties.encode(wire.event_properties)
    customer_event_id = str(new_id()) if customer_event_id is None else customer_event_id
    check_ids((customer_event_id,))
    # Bytes where they are counted already, characters where they are few.
    size = len(encoded) + len(alias) + len(event_type) + len(customer_event_id)
    if size > EVENT_BYTES_MAX:
        raise EventTooLarge(f"An event may have {EVENT_BYTES_MAX} bytes, this one has {size}. Send less with it.")
    content = identity.digest(alias, event_type, None if written is None else at, encoded)
    key = identity.key(customer_event_id)
    return Event(key, content, customer_event_id, alias, event_type, at, written is not None, encoded)


def cancellation(named: str, *, received_at: int) -> Event:
    """What takes back the event of this name; it travels like an event, and nobody is its customer."""
    check_ids((named,))
    return Event(
        key=identity.named(named),
        digest=CANCELLATION,
        customer_event_id=named,
        customer_alias="",
        event_type="",
        timestamp=received_at,
        has_own_timestamp=False,
        properties=b"{}",
    )


def check_names(*, aliases: Iterable[str], types: Iterable[str]) -> None:
    """Refuse customer aliases and event types that cannot be kept."""
    for alias in aliases:
        if alias not in _SOUND:
            _check_text(alias, key="customerAlias")
    for event_type in types:
        if event_type not in _SOUND:
            _check_text(event_type, key="eventType")


def check_ids(ids: Sequence[str]) -> None:
    """Refuse ids that cannot be kept."""
    lengths = {*map(len, ids)}
    if min(lengths) < 1 or max(lengths) > TEXT_CHARACTERS_MAX or "\0" in "".join(ids):
        raise InvalidValue(
            f"`customerEventId` must have 1 to {TEXT_CHARACTERS_MAX} characters, none of them U+0000.",
            key="customerEventId",
        )


def sender_id(body: bytes | msgspec.Raw) -> str | None:
    """The id of an event that was refused, as far as it can be read."""
    found = diagnosis.texts(body, "customerEventId")
    return found[0] if found else None


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


# Texts that were checked lately: names come again and again.
_SOUND: set[str] = set()
_SOUND_MAX = 50_000


def _check_text(text: str, *, key: str) -> None:
    if not 1 <= len(text) <= TEXT_CHARACTERS_MAX:
        raise InvalidValue(f"`{key}` must have 1 to {TEXT_CHARACTERS_MAX} characters, but has {len(text)}.", key=key)
    # isprintable is the quick answer for almost everything; it also says no to harmless spaces of other scripts.
    if not text.isprintable() and _CONTROL.search(text):
        raise InvalidValue(f"`{key}` contains a control character. Remove it.", key=key)
    if len(_SOUND) >= _SOUND_MAX:
        _SOUND.clear()
    _SOUND.add(text)


_FIELDS = frozenset({"customerAlias", "eventType", "customerEventId", "eventTimestamp", "eventProperties"})
_SHAPE = Shape(
    required=("customerAlias", "eventType"),
    optional=("customerEventId", "eventTimestamp"),
    properties="eventProperties",
    may_be_null=False,
    is_possible=_FIELDS.__contains__,
    hint="Remove it or check its spelling.",
)
_DECODER = msgspec.json.Decoder(Wire, float_hook=properties.number_of)
_ALL_DECODER = msgspec.json.Decoder(list[Wire], float_hook=properties.number_of)
