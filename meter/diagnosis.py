"""What is wrong with an event that could not be decoded: it is decoded again, without types, to say exactly. Pure."""

from collections.abc import Callable
from typing import Any

import msgspec

from meter import properties
from meter.error import EventRefused, InexactNumber, InvalidValue, MalformedJson, MissingField, UnknownField, WrongType

# Everything that decoding raises; two of them are no errors of msgspec's.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)


class Shape(msgspec.Struct, frozen=True):
    """The fields of a kind of event: texts, the field that holds properties, and which names are possible at all."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    properties: str
    may_be_null: bool
    is_possible: Callable[[str], bool]
    hint: str


def diagnose(body: bytes | msgspec.Raw, exc: Exception, shape: Shape) -> EventRefused | None:
    """Why `body` could not be decoded, which failed with `exc`. None: every field is as it should be."""
    try:
        fields = _UNTYPED.decode(body)
    except UnicodeDecodeError:
        return MalformedJson("The event is not valid UTF-8. Encode it as UTF-8.")
    except RecursionError:
        return MalformedJson("The event is nested too deeply. Send a flat one.")
    except msgspec.ValidationError:
        # The only value that JSON allows and decoding does not: an integer of absurd length.
        return InexactNumber(f"`eventProperties`: {InexactNumber.__doc__}", key="eventProperties")
    except msgspec.DecodeError:
        return MalformedJson(f"The event is not JSON: {exc}. Send one JSON object, or an array of them.")
    if not isinstance(fields, dict):
        return WrongType("An event must be a JSON object.")
    return _diagnose_fields(fields, shape)


def texts(body: bytes | msgspec.Raw, *names: str) -> list[str] | None:
    """Some fields of an event that was refused already, as far as they can be read and are texts."""
    try:
        fields = _UNTYPED.decode(body)
    except UNREADABLE:
        return None
    found = [fields.get(name) for name in names] if isinstance(fields, dict) else []
    known = [one for one in found if isinstance(one, str)]
    return known if len(known) == len(names) else None


def unfit(exc: Exception) -> InvalidValue:
    """The sentence of last resort."""
    return InvalidValue(f"{exc}. Send a value that fits.")


class _Written(msgspec.Struct, frozen=True):
    """A number with a point or an exponent, as it was written."""

    text: str


def _diagnose_fields(fields: dict[str, Any], shape: Shape) -> EventRefused | None:
    for name in fields:
        if not shape.is_possible(name):
            return UnknownField(f"`{name[:64]}` is not known here. {shape.hint}", key=name[:64])
    for name in shape.required:
        if name not in fields:
            return MissingField(f"`{name}` is required. Send it.", key=name)
        if not isinstance(fields[name], str):
            return WrongType(f"`{name}` must be a string.", key=name)
    for name in shape.optional:
        if not isinstance(fields.get(name), str | None):
            return WrongType(f"`{name}` must be a string, or absent.", key=name)
    return _diagnose_properties(fields.get(shape.properties, {}), shape)


def _diagnose_properties(found: Any, shape: Shape) -> EventRefused | None:
    if found is None and shape.may_be_null:
        return None
    if not isinstance(found, dict):
        return WrongType(f"`{shape.properties}` must be an object of plain values.", key=shape.properties)
    for name, value in found.items():
        if isinstance(value, dict | list):
            return properties.not_flat(name)
        if isinstance(value, _Written):
            try:
                properties.number_of(value.text)
            except ArithmeticError:
                return properties.inexact(name)
    return None


_UNTYPED = msgspec.json.Decoder(float_hook=_Written)
