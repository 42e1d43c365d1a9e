"""Event properties: a flat map of strings, numbers, booleans and nulls, and its one canonical form. Pure.

    {"b": 1.50, "a": "x"}   ->   b'{"a":"x","b":1.5}'

Equal content has equal bytes: names sorted, numbers plain without an exponent or zeros that say nothing. Numbers
never pass through a float, and through a Decimal only where their text is not plain already.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from meter.error import InexactNumber, InvalidValue, WrongType
from rating import number

PROPERTIES_MAX = 50

_INTEGER_MAX = 10**number.INTEGER_DIGITS_MAX - 1
# A number that is within the limits whatever its digits are.
_SHORT = re.compile(r"-?\d{1,20}\.\d{1,18}", re.ASCII)
# What needs no look, beside integers: texts, booleans, null and the numbers that number_of made.
_PLAIN = frozenset({str, bool, type(None), msgspec.Raw})
# An integer within the limits has fewer digits.
_TOO_LONG = b"0" * (number.INTEGER_DIGITS_MAX + 1)
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_ENCODER = msgspec.json.Encoder(order="deterministic")


def encode(properties: dict[str, Any]) -> bytes:
    """Properties as canonical JSON: equal content, equal bytes. They were decoded with `number_of` as float hook."""
    if len(properties) > PROPERTIES_MAX:
        raise InvalidValue(
            f"`eventProperties` may have {PROPERTIES_MAX} properties, but has {len(properties)}. Send fewer.",
            key="eventProperties",
        )
    for name, value in properties.items():
        kind = type(value)
        if kind is int:
            if not -_INTEGER_MAX <= value <= _INTEGER_MAX:
                raise inexact(name)
        elif kind not in _PLAIN:
            raise not_flat(name)
    encoded = _ENCODER.encode(properties)
    if b"\\u0000" in encoded:
        # Rare, and not yet bad: the text may have a backslash of its own.
        _check_zeros(properties)
    return encoded


def encode_all(many: Sequence[dict[str, Any]]) -> bytes | None:
    """The same for those of many events, which is cheaper: a line for each. None: encode them one by one, to learn what
    is wrong. They may also be structs, all of one kind (shape.py).
    """
    if isinstance(many[0], dict) and max(map(len, many)) > PROPERTIES_MAX:
        return None
    # The JSON of a text has no line feed of its own.
    encoded = _ENCODER.encode_lines(many)
    # What may be wrong is looked for in the text, at a third of the cost of a look at each value. A text that has such
    # characters itself only costs more.
    is_plain = (
        encoded.count(b"{") == len(many)
        and b"[" not in encoded
        and (b"\\" not in encoded or b"\\u0000" not in encoded)
        and _TOO_LONG not in encoded.translate(_ZEROS)
    )
    return encoded if is_plain else None


def number_of(text: str) -> msgspec.Raw | int:
    """A number with a point or an exponent, in its shortest plain form. Raises ArithmeticError if that is not exact."""
    if not _SHORT.fullmatch(text):
        exact = number.EXACT.normalize(Decimal(text))
        if exact.adjusted() >= number.INTEGER_DIGITS_MAX or -_exponent(exact) > number.DECIMALS_MAX:
            raise ArithmeticError(text)
        text = format(exact, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return msgspec.Raw(text.encode()) if "." in text else int(text)


def inexact(name: str) -> InexactNumber:
    """What is wrong with a number that cannot be kept."""
    return InexactNumber(f"`{_path(name)}`: {InexactNumber.__doc__}", key=_path(name))


def not_flat(name: str) -> WrongType:
    """What is wrong with a list or an object."""
    message = f"`{_path(name)}` must be a string, number, boolean or null; properties are flat."
    return WrongType(message, key=_path(name))


def _exponent(exact: Decimal) -> int:
    exponent = exact.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _check_zeros(properties: dict[str, Any]) -> None:
    for name, value in properties.items():
        if "\0" in name:
            raise InvalidValue("A property's name contains the character U+0000. Remove it.", key="eventProperties")
        if isinstance(value, str) and "\0" in value:
            raise InvalidValue(f"`{_path(name)}` contains the character U+0000. Remove it.", key=_path(name))


def _path(name: str) -> str:
    return f"eventProperties.{name}"
