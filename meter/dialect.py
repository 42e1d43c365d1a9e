"""The dialects in which events come: which content types there are, and how a body falls into events. Pure.

    application/json                      one event, or an array of them
    application/x-ndjson                  an event per line; blank lines are skipped
    application/cloudevents+json          one CloudEvent
    application/cloudevents-batch+json    an array of CloudEvents

Where only CloudEvents are read, application/json is one of them, or an array.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, cast

import msgspec

from meter import cloud_event, event, shape
from meter.diagnosis import UNREADABLE
from meter.error import BatchTooLarge, EmptyBatch, MalformedJson, UnsupportedMedia
from meter.event import Event, Wire

EVENTS_MAX = 10_000


class Language(msgspec.Struct, frozen=True):
    """How one event is read."""

    decode: Callable[..., Event]
    sender_id: Callable[[Any], str | None]


class Letter(msgspec.Struct, frozen=True):
    """A body, opened: its events, not checked yet. One event is answered in another way than a batch of one."""

    parts: Sequence[bytes | msgspec.Raw | Wire]
    is_batch: bool
    language: Language
    # What wires were read from.
    body: bytes = b""

    @property
    def wires(self) -> Sequence[Wire]:
        """The parts, if all could be read at once and nothing but what they say is asked of them."""
        return cast("Sequence[Wire]", self.parts) if self.language is _READ else ()

    @property
    def one_by_one(self) -> Sequence[bytes | msgspec.Raw | Wire]:
        """The parts, each for its language."""
        return shape.plain(cast("Sequence[Wire]", self.parts), self.body) if self.body else self.parts


def check(content_type: str, *, is_cloud: bool) -> None:
    """Refuse a content type before its body is read."""
    if content_type not in (_CLOUD_TYPES if is_cloud else _TYPES):
        raise UnsupportedMedia


def open_(body: bytes, content_type: str, *, is_cloud: bool) -> Letter:
    """The events of a body, of a content type that was checked."""
    match content_type:
        case "application/x-ndjson":
            return Letter(_lines(body), is_batch=True, language=_OURS)
        case "application/cloudevents+json":
            return Letter([body], is_batch=False, language=_CLOUD)
        case "application/cloudevents-batch+json":
            return Letter(_array(body), is_batch=True, language=_CLOUD)
    language = _CLOUD if is_cloud else _OURS
    if body.lstrip(b" \t\r\n").startswith(b"["):
        if not is_cloud and (wires := shape.decode_all(body)):
            _check_count(len(wires))
            return Letter(wires, is_batch=True, language=_READ, body=body)
        return Letter(_array(body), is_batch=True, language=language)
    return Letter([body], is_batch=False, language=language)


def _array(body: bytes) -> list[msgspec.Raw]:
    try:
        found = _ARRAY.decode(body)
    except UNREADABLE as exc:
        raise MalformedJson(f"The body is not a JSON array: {exc}. Send an array of events.") from exc
    _check_count(len(found))
    return found


def _lines(body: bytes) -> list[bytes]:
    found = [line for line in body.split(b"\n") if line and not line.isspace()]
    _check_count(len(found))
    return found


def _check_count(count: int) -> None:
    if not count:
        raise EmptyBatch
    if count > EVENTS_MAX:
        raise BatchTooLarge


_CLOUD_TYPES = frozenset({"application/json", "application/cloudevents+json", "application/cloudevents-batch+json"})
_TYPES = _CLOUD_TYPES | {"application/x-ndjson"}
_OURS = Language(event.decode, event.sender_id)
_READ = Language(event.take, attrgetter("customer_event_id"))
_CLOUD = Language(cloud_event.decode, cloud_event.sender_id)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
