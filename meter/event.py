"""The usage event on the wire: what a sender may write, its limits, and what becomes of it. Pure.

    {"customerEventId"?, "customerAlias", "eventType", "eventTimestamp"?, "eventProperties"?}   one event, as JSON
    -> Event      normalised, with its identity: ready for the stream

Everything is checked here and nowhere later: whatever passed can be stored. Normalised means that equal content has
equal bytes: property names sorted, numbers plain without zeros that say nothing, instants as microseconds since 1970
in UTC.

A good event costs one typed decode. A bad one is decoded a second time without types, to say exactly what is wrong.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from meter import diagnosis, identity, properties
from meter.diagnosis import UNREADABLE, Shape
from meter.error import EventTooLarge, InvalidValue
from store.event_version import CANCELLATION

NewId: TypeAlias = Callable[[], UUID]

EVENT_BYTES_MAX = 8 * 1024
TEXT_CHARACTERS_MAX = 255
AHEAD_MAX = timedelta(minutes=5)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AHEAD_MICROSECONDS = AHEAD_MAX // _MICROSECOND


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
    if alias not in _SOUND:
        _check_text(alias, key="customerAlias")
    if event_type not in _SOUND:
        _check_text(event_type, key="eventType")
    timestamp = received_at if written is None else _timestamp(written, received_at)
    encoded = properties.encode(wire.event_properties)
    customer_event_id = str(new_id()) if customer_event_id is None else _checked_id(customer_event_id)
    # Bytes where they are counted already, characters where they are few.
    size = len(encoded) + len(alias) + len(event_type) + len(customer_event_id)
    if size > EVENT_BYTES_MAX:
        raise EventTooLarge(f"An event may have {EVENT_BYTES_MAX} bytes, this one has {size}. Send less with it.")
    content = identity.digest(alias, event_type, None if written is None else timestamp, encoded)
    key = identity.key(customer_event_id)
    return Event(key, content, customer_event_id, alias, event_type, timestamp, written is not None, encoded)


def cancellation(named: str, *, received_at: int) -> Event:
    """What takes back the event of this name; it travels like an event, and nobody is its customer."""
    return Event(
        key=identity.named(_checked_id(named)),
        digest=CANCELLATION,
        customer_event_id=named,
        customer_alias="",
        event_type="",
        timestamp=received_at,
        has_own_timestamp=False,
        properties=b"",
    )


def sender_id(body: bytes | msgspec.Raw) -> str | None:
    """The id of an event that was refused, as far as it can be read."""
    found = diagnosis.texts(body, "customerEventId")
    return found[0] if found else None


def microseconds(instant: datetime) -> int:
    """An instant as microseconds since 1970 in UTC."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(microseconds_: int) -> datetime:
    """The instant of so many microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds_)


_TIMESTAMP_MIN = microseconds(datetime(2000, 1, 1, tzinfo=UTC))
_TIMESTAMP_MAX = microseconds(datetime(2101, 1, 1, tzinfo=UTC)) - 1
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,64})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


# Texts that were checked lately: names come again and again.
_SOUND: set[str] = set()
_SOUND_MAX = 50_000
# Whole seconds that were read lately, as written: events come in bursts.
_SECONDS: dict[str, int] = {}
_SECONDS_MAX = 10_000
# A fraction of so many digits as microseconds.
_SCALES: tuple[int, ...] = tuple(10 ** (6 - digits) for digits in range(7))


def _check_text(text: str, *, key: str) -> None:
    if not 1 <= len(text) <= TEXT_CHARACTERS_MAX:
        raise InvalidValue(f"`{key}` must have 1 to {TEXT_CHARACTERS_MAX} characters, but has {len(text)}.", key=key)
    # isprintable is the quick answer for almost everything; it also says no to harmless spaces of other scripts.
    if not text.isprintable() and _CONTROL.search(text):
        raise InvalidValue(f"`{key}` contains a control character. Remove it.", key=key)
    if len(_SOUND) >= _SOUND_MAX:
        _SOUND.clear()
    _SOUND.add(text)


def _checked_id(customer_event_id: str) -> str:
    if not 1 <= len(customer_event_id) <= TEXT_CHARACTERS_MAX or "\0" in customer_event_id:
        raise InvalidValue(
            f"`customerEventId` must have 1 to {TEXT_CHARACTERS_MAX} characters, none of them U+0000.",
            key="customerEventId",
        )
    return customer_event_id


def _timestamp(text: str, received_at: int) -> int:
    timestamp = _parse_timestamp(text)
    if timestamp is None:
        raise InvalidValue(
            "`eventTimestamp` must be an RFC 3339 timestamp with an offset, such as 2025-01-31T23:59:59.5Z.",
            key="eventTimestamp",
        )
    if not _TIMESTAMP_MIN <= timestamp <= _TIMESTAMP_MAX:
        raise InvalidValue("`eventTimestamp` must lie in the years 2000 to 2100.", key="eventTimestamp")
    if timestamp > received_at + _AHEAD_MICROSECONDS:
        raise InvalidValue(
            "`eventTimestamp` is more than 5 minutes ahead of our clock. Check the sender's clock and time zone.",
            key="eventTimestamp",
        )
    return timestamp


def _parse_timestamp(text: str) -> int | None:
    """Microseconds since 1970; None: not a timestamp. In UTC it is a second, usually seen before, and its fraction."""
    second = _SECONDS.get(text[:19])
    if second is not None and text[-1] == "Z":
        if len(text) == 20:
            return second
        fraction = text[20:-1]
        if text[19] == "." and len(fraction) <= 6 and fraction.isdecimal() and fraction.isascii():
            return second + int(fraction) * _SCALES[len(fraction)]
    if not _RFC_3339.fullmatch(text):
        return None
    try:
        # Digits beyond microseconds are cut off here: rounding could move an event into the next period.
        found = microseconds(datetime.fromisoformat(text.upper()))
    except ValueError:
        # A day or a time that does not exist.
        return None
    if text[-1] == "Z":
        if len(_SECONDS) >= _SECONDS_MAX:
            _SECONDS.clear()
        _SECONDS[text[:19]] = found - found % 1_000_000
    return found


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
