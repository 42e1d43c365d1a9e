"""Instants as requests write them: RFC 3339 with an offset; digits beyond microseconds are cut off, never rounded.

And the days beyond which nothing is billed.
"""

import re
from datetime import UTC, date, datetime, timedelta

from api import error
from rating.schedule import LATEST

# As for usage events: a clock may be a little fast, not more.
AHEAD_MAX = timedelta(minutes=5)

_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,64})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)


def read(text: str, *, key: str) -> datetime:
    """The instant that a field of a body writes."""
    if _RFC_3339.fullmatch(text) is None:
        raise _no_instant(key)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        # A day or a time that does not exist.
        raise _no_instant(key) from exc


def read_parameter(text: str | None, *, key: str) -> datetime | None:
    """The same of a query, where an offset's plus sign that was not percent-encoded arrives as a blank."""
    return None if text is None else read(text.replace(" ", "+"), key=key)


def read_past(text: str, *, now: datetime, key: str) -> datetime:
    """The same of something that has happened."""
    found = read(text, key=key)
    if not _FIRST <= found < _LAST:
        raise error.InvalidValue(f"`{key}` must lie in the years 2000 to 2100.", key=key)
    if found > now + AHEAD_MAX:
        message = f"`{key}` is more than 5 minutes ahead of our clock. Check the sender's clock and time zone."
        raise error.InvalidValue(message, key=key)
    return found


def check_days(**days: date | None) -> None:
    """Refuse days beyond what is ever billed, named by their fields; some people write 9999-12-31 for never."""
    for key, day in days.items():
        if day is not None and day >= LATEST:
            message = f"`{key}` must lie before {LATEST}. Leave it out for a day that never comes."
            raise error.InvalidValue(message, key=key)


def _no_instant(key: str) -> error.InvalidValue:
    message = f"`{key}` must be an RFC 3339 timestamp with an offset, such as 2025-01-31T23:59:59.5Z."
    return error.InvalidValue(message, key=key)
