"""CloudEvents 1.0 in their JSON form, read as usage events. Pure.

    {"specversion": "1.0", "source", "id", "type", "subject", "time"?, "data"?, "datacontenttype"?, "dataschema"?, ...}

    subject -> customerAlias    type -> eventType    time -> eventTimestamp    data -> eventProperties

The identity of a CloudEvent is its source and its id, so the customerEventId is the two with a blank between them:
"https://shop.example/api 17". A source cannot contain a blank; where a sender writes one it counts as %20.

Extension attributes are allowed, and nothing is done with them. Problems are told in the CloudEvent's own names.
"""

import re
from typing import Any

import msgspec

from meter import diagnosis, event, properties
from meter.diagnosis import UNREADABLE, Shape
from meter.error import EventRefused, InvalidValue, UnknownField
from meter.event import TEXT_CHARACTERS_MAX, Event, NewId, Wire

_JSON = re.compile(r"[a-z]+/(?:[^;\s]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"[a-z0-9]+")
_NAMES = {
    "customerAlias": "subject",
    "eventType": "type",
    "customerEventId": "id",
    "eventTimestamp": "time",
    "eventProperties": "data",
}
_SHAPE = Shape(
    required=("specversion", "source", "id", "type", "subject"),
    optional=("time", "datacontenttype", "dataschema"),
    properties="data",
    may_be_null=True,
    is_possible=lambda name: _ATTRIBUTE.fullmatch(name) is not None,
    hint="Names of attributes have lower-case letters and digits.",
)


class _Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    specversion: str
    source: str
    id: str
    type: str
    subject: str
    time: str | None = None
    data: dict[str, Any] | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None


class _Open(_Closed, frozen=True, forbid_unknown_fields=False):
    pass


def decode(body: bytes | msgspec.Raw, *, received_at: int, new_id: NewId) -> Event:
    """One event from the JSON of a CloudEvent; every failure is an EventRefused."""
    try:
        wire = _read(body)
        return event.take(_plain(wire), received_at=received_at, new_id=new_id)
    except UnknownField:
        # It is named as it was sent.
        raise
    except EventRefused as exc:
        raise _renamed(exc) from exc


def sender_id(body: bytes | msgspec.Raw) -> str | None:
    """The customerEventId of an event that was refused, as far as it can be read."""
    found = diagnosis.texts(body, "source", "id")
    return _joined(*found) if found else None


def _read(body: bytes | msgspec.Raw) -> _Closed:
    try:
        return _CLOSED.decode(body)
    except UNREADABLE as exc:
        problem = diagnosis.diagnose(body, exc, _SHAPE)
        if problem is not None:
            raise problem from exc
    # Nothing but extension attributes.
    try:
        return _OPEN.decode(body)
    except UNREADABLE as exc:
        raise diagnosis.unfit(exc) from exc


def _plain(wire: _Closed) -> Wire:
    if wire.specversion != "1.0":
        raise InvalidValue("`specversion` must be 1.0.", key="specversion")
    for name in ("source", "id"):
        if not getattr(wire, name):
            raise InvalidValue(f"`{name}` must not be empty.", key=name)
    customer_event_id = _joined(wire.source, wire.id)
    if len(customer_event_id) > TEXT_CHARACTERS_MAX:
        raise InvalidValue(f"`source` and `id` may have {TEXT_CHARACTERS_MAX - 1} characters together.", key="id")
    if wire.datacontenttype is not None and not _JSON.fullmatch(wire.datacontenttype):
        raise InvalidValue("`datacontenttype` must be JSON, such as application/json.", key="datacontenttype")
    return Wire(
        customer_alias=wire.subject,
        event_type=wire.type,
        customer_event_id=customer_event_id,
        event_timestamp=wire.time,
        event_properties=wire.data or {},
    )


def _joined(source: str, id_: str) -> str:
    return f"{source.replace(' ', '%20')} {id_}"


def _renamed(exc: EventRefused) -> EventRefused:
    """The same problem in the names of a CloudEvent."""
    message, key = str(exc), exc.key
    for ours, theirs in _NAMES.items():
        message = message.replace(ours, theirs)
        if key is not None:
            key = re.sub(rf"^{ours}(?=\.|$)", theirs, key)
    return type(exc)(message, key=key)


_CLOSED = msgspec.json.Decoder(_Closed, float_hook=properties.number_of)
_OPEN = msgspec.json.Decoder(_Open, float_hook=properties.number_of)
