"""When an event happened, as senders write it: RFC 3339 text -> microseconds since 1970 in UTC. Pure.

    read(text, received_at)         one, or an InvalidValue
    read_all(texts, received_at)    those of many events at once, which is cheaper; None: read them one by one

What `read_all` answers is what `read` says of each.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from meter.error import InvalidValue

AHEAD_MAX = timedelta(minutes=5)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AHEAD_MICROSECONDS = AHEAD_MAX // _MICROSECOND
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,64})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
# Where the time of day begins, and the fraction of a second, behind its point.
_CLOCK, _FRACTION = 11, 20
# Without a fraction, or with one to six digits.
_SIZES = frozenset({_FRACTION, *range(_FRACTION + 2, _FRACTION + 8)})
# Where the digits of a time of day stand, how large each may be, and what it is worth in microseconds.
_DIGITS = np.array([11, 12, 14, 15, 17, 18, *range(_FRACTION, _FRACTION + 6)])
_DIGITS_MAX = np.array([2, 9, 5, 9, 5, 9, *[9] * 6], np.uint8)
_WEIGHTS = np.array([*(of * 1_000_000 for of in (36_000, 3_600, 600, 60, 10, 1)), *(10**of for of in range(5, -1, -1))])
_ZERO = np.uint8(ord("0"))
_DAY_MICROSECONDS = 24 * 3_600 * 1_000_000
_MIDNIGHT = "00:00:00Z"
# A fraction of so many digits as microseconds.
_SCALES: tuple[int, ...] = tuple(10 ** (6 - digits) for digits in range(7))

# Whole seconds that were read lately, as written: events come in bursts.
_SECONDS: dict[str, int] = {}
_SECONDS_MAX = 10_000


def microseconds(instant: datetime) -> int:
    """An instant as microseconds since 1970 in UTC."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(microseconds_: int) -> datetime:
    """The instant of so many microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds_)


_MIN = microseconds(datetime(2000, 1, 1, tzinfo=UTC))
_MAX = microseconds(datetime(2101, 1, 1, tzinfo=UTC)) - 1


def read(text: str, received_at: int) -> int:
    """A timestamp that an event may have which was received then."""
    timestamp = _parse(text)
    if timestamp is None:
        raise InvalidValue(
            "`eventTimestamp` must be an RFC 3339 timestamp with an offset, such as 2025-01-31T23:59:59.5Z.",
            key="eventTimestamp",
        )
    if not _MIN <= timestamp <= _MAX:
        raise InvalidValue("`eventTimestamp` must lie in the years 2000 to 2100.", key="eventTimestamp")
    if timestamp > received_at + _AHEAD_MICROSECONDS:
        raise InvalidValue(
            "`eventTimestamp` is more than 5 minutes ahead of our clock. Check the sender's clock and time zone.",
            key="eventTimestamp",
        )
    return timestamp


def read_all(texts: Sequence[str], received_at: int) -> npt.NDArray[np.int64] | None:
    """Timestamps in UTC of one length, as a program writes them: a second, maybe a point and digits, Z."""
    size, joined = len(texts[0]), "".join(texts).encode()
    # The lengths as well: two texts of other lengths may look like two of this one when they are put together.
    if size not in _SIZES or {*map(len, texts)} != {size} or len(joined) != size * len(texts):
        return None
    times = _times_of_day(joined, size)
    midnights = None if times is None else _midnights(texts, joined)
    if times is None or midnights is None:
        return None
    times += midnights
    return times if times.min() >= _MIN and times.max() <= min(_MAX, received_at + _AHEAD_MICROSECONDS) else None


def _times_of_day(joined: bytes, size: int) -> npt.NDArray[np.int64] | None:
    """What stands behind the day of each text, if all of it has its form and its limits."""
    signs = ((13, b":"), (16, b":"), (_FRACTION - 1, b"." if size > _FRACTION else b"Z"), (size - 1, b"Z"))
    if any(joined[place::size].strip(sign) for place, sign in signs):
        return None
    count = size - _FRACTION + 5 if size > _FRACTION else 6
    characters = np.frombuffer(joined, np.uint8).reshape(-1, size)
    # What is no digit wraps around to a large number.
    digits = characters.T[_DIGITS[:count]] - _ZERO
    if (digits.max(axis=1) > _DIGITS_MAX[:count]).any():
        return None
    times = _WEIGHTS[:count] @ digits
    return times if times.max() < _DAY_MICROSECONDS else None


def _midnights(texts: Sequence[str], joined: bytes) -> npt.NDArray[np.int64] | None:
    """When the day of each text begins; of the first one alone, if it is the same for all."""
    first = texts[0][:_CLOCK]
    midnight = _parse(f"{first}{_MIDNIGHT}")
    if midnight is None:
        return None
    # A day that is one ends with a sign that the rest of a text has been seen not to have: each is found at its place.
    if joined.count(first.encode()) == len(texts):
        return np.array([midnight])
    days = [text[:_CLOCK] for text in texts]
    found = {day: _parse(f"{day}{_MIDNIGHT}") for day in {*days}}
    return None if None in found.values() else np.array([found[day] for day in days])


def _parse(text: str) -> int | None:
    """Microseconds since 1970; None: not a timestamp. In UTC it is a second, usually seen before, and its fraction."""
    second = _SECONDS.get(text[:19])
    if second is not None and text[-1] == "Z":
        if len(text) == _FRACTION:
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
