"""Arrays of events whose properties have names that were seen before, which is how programs write them.

    decode_all(body)        as event.decode_all; where each event has the same known names its properties are a struct
    plain(wires, body)      the same events with dictionaries, in the order in which the properties were sent

A struct costs a decoder two thirds of what a dictionary costs, and an encoder half. Its fields stand in the order of
their names, so that it is encoded as properties.py wants it.

Which names an array has is guessed from its first event. The guess decides about cost alone: a decoder of structs
refuses whatever has a name more or less, and then the array is read with dictionaries, and so are the next ones that
begin alike.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from meter import event, properties
from meter.diagnosis import UNREADABLE
from meter.event import Wire

# Smaller ones are read before a guess is made.
BODY_BYTES_MIN = 4_096
# So many combinations of names are remembered; after that all are forgotten.
SHAPES_MAX = 200
# A struct is made for names that come again; after a wrong guess only every so many arrays are a guess.
_SKIPPED_FIRST, _SKIPPED_MIXED = 1, 64
_FIRST_BYTES = 4_096
_FIRST = re.compile(rb'"eventProperties"\s*:\s*\{([^{}\[\]]*)\}')
# Of plain ASCII, where the order of characters is that of their bytes.
_NAME = re.compile(rb'"([ !#-\[\]-~]{1,64})"\s*:')


class _Shape:
    """What reads events with these names, once there are enough of them."""

    def __init__(self) -> None:
        self.decoder: msgspec.json.Decoder[list[Wire]] | None = None
        self.skipped = _SKIPPED_FIRST


_SHAPES: dict[tuple[bytes, ...], _Shape] = {}


def decode_all(body: bytes) -> list[Wire] | None:
    """An array of events; None if any of them cannot be read."""
    shape = _guess(body) if len(body) >= BODY_BYTES_MIN else None
    if shape is None or shape.decoder is None:
        return event.decode_all(body)
    try:
        return shape.decoder.decode(body)
    except UNREADABLE:
        wires = event.decode_all(body)
        # A body that nobody can read says nothing about others that begin like it.
        if wires is not None:
            shape.skipped = _SKIPPED_MIXED
        return wires


def plain(wires: Sequence[Wire], body: bytes) -> Sequence[Wire]:
    """The events of this body, for who takes them one by one."""
    return wires if type(wires[0]) is Wire else event.decode_all(body) or ()


def _guess(body: bytes) -> _Shape | None:
    first = _FIRST.search(body, 0, _FIRST_BYTES)
    names = () if first is None else tuple(_NAME.findall(first[1]))
    if not 0 < len(names) <= properties.PROPERTIES_MAX:
        return None
    shape = _SHAPES.get(names)
    if shape is None:
        if len(_SHAPES) >= SHAPES_MAX:
            _SHAPES.clear()
        shape = _SHAPES[names] = _Shape()
    if shape.skipped:
        shape.skipped -= 1
        return None
    if shape.decoder is None:
        shape.decoder = _decoder(sorted({name.decode("ascii") for name in names}))
    return shape


def _decoder(names: Sequence[str]) -> msgspec.json.Decoder[list[Wire]]:
    fields = {f"property_{place}": name for place, name in enumerate(names)}
    options: dict[str, Any] = {"frozen": True, "gc": False, "forbid_unknown_fields": True}
    shape = msgspec.defstruct("Shape", [(field, Any) for field in fields], rename=fields, **options)
    wire = msgspec.defstruct(
        "ShapedWire", [("event_properties", shape)], bases=(Wire,), rename="camel", kw_only=True, **options
    )
    return msgspec.json.Decoder(list[wire], float_hook=properties.number_of)  # type: ignore[valid-type]
