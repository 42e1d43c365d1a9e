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
# Where the fraction of a second begins, behind its point.
_FRACTION = 20
# What lines of one length look like if their digits are zeros: without a fraction, or with one to six digits.
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_FORMS = {
    len(form): form + b"\n"
    for form in (b"0000-00-00T00:00:00Z", *(b"0000-00-00T00:00:00.%bZ" % (b"0" * digits) for digits in range(1, 7)))
}
# Made once: for a few texts it costs as much to say what they are as to read them. Z is left out, numpy refuses it.
_WRITTEN = {size: np.dtype(f"S{size - 1}") for size in _FORMS}
_MICROSECONDS, _LONG = np.dtype("M8[us]"), np.dtype(np.int64)
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
    size, lines = len(texts[0]), "\n".join(texts).encode()
    form = _FORMS.get(size)
    if form is None or lines.translate(_ZEROS) != (form * len(texts))[:-1]:
        return None
    written = np.ndarray(len(texts), _WRITTEN[size], lines, strides=(len(form),))
    try:
        found = written.astype(_MICROSECONDS).view(_LONG)
    except ValueError:
        # A day or a time that does not exist.
        return None
    return found if found.min() >= _MIN and found.max() <= min(_MAX, received_at + _AHEAD_MICROSECONDS) else None


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
