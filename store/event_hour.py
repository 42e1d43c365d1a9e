"""Where the events of an hour of event time stand in the order of receipt.

    stretches(account, ...) -> rows     what a transaction has to say of its new events
    stretch(account, ...) -> row        the same of one event that is stored and has another time now
    add(conn, rows)                     says it
    extent(conn, account, ...)          the hours of a range that may have events
    read(conn, account, hours=...)      where to look for their events
    trim(conn)                          forgets what was dropped

Theory of a stretch
    The order of receipt is that of event numbers, and every transaction that counts has a block of them for itself.
    A row says that events of this hour may stand between two numbers. It is only ever added: an event that is gone, or
    has another time now, leaves it behind, and then a list looks there in vain. What no row says is not there.

    A block with many events of an account has a row for itself, else _BLOCKS of them share one. So where transactions
    are small there are few rows, where they are large a late event is not searched for among those of its neighbours.

    An hour is a long one, 2^32 microseconds or about 72 minutes: the upper half of a timestamp is there without a
    division for each event.

    Stretches of both lengths begin at multiples of theirs. So a short one lies inside of one long one or of none, and a
    list that stops between two long ones misses nothing.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from store.db import Connection
from store.event import NUMBERS_PER_BLOCK
from store.page import both_ways

# An hour is the upper half of a timestamp.
_HOUR_BITS = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BLOCKS = 16
_SHARED_NUMBERS = NUMBERS_PER_BLOCK * _BLOCKS
# Fewer events than this of an account in a block: it shares its stretch, which a page of a list walks through at once.
_LARGE_EVENTS = 1_000
# More than begin within _SHARED_NUMBERS, so that there is always a part of the list that is known to its end.
ROWS_MAX = 4 * (_BLOCKS + 1)
# More hours, a hundred days, cost more to look at than a walk does.
HOURS_MAX = 2_000

# account, hour, first number, last number
Row: TypeAlias = tuple[int, int, int, int]
Stretch: TypeAlias = tuple[int, int]


class Places(msgspec.Struct, frozen=True):
    """Where to look, one after the other, from a first to a last number each; and the number behind which to look for
    more, None: that is all.
    """

    stretches: tuple[Stretch, ...]
    onward: int | None = None


EVERYWHERE = Places(((0, (1 << 63) - 2),))


def stretches(account: int, *, block: int, timestamps: NDArray[np.int64]) -> Iterator[Row]:
    """The rows of an account's events in one block of numbers, in microseconds since 1970."""
    numbers = NUMBERS_PER_BLOCK if len(timestamps) >= _LARGE_EVENTS else _SHARED_NUMBERS
    first = block - block % numbers
    for hour in np.unique(timestamps >> _HOUR_BITS).tolist():
        yield account, hour, first, first + numbers - 1


def stretch(account: int, *, event_no: int, timestamp: int) -> Row:
    """The row of one event."""
    first = event_no - event_no % NUMBERS_PER_BLOCK
    return account, timestamp >> _HOUR_BITS, first, first + NUMBERS_PER_BLOCK - 1


# Sorted, so that two aggregators cannot wait for each other; by the primary key.
_ADD = """
insert into usage_event_hour (account, hour, first_no, last_no)
select account, hour, first_no, last_no
from unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[]) as new (account, hour, first_no, last_no)
on conflict (account, hour, first_no, last_no) do nothing
"""


async def add(conn: Connection, rows: Collection[Row]) -> None:
    """Say where events stand."""
    if rows:
        await conn.execute(_ADD, *zip(*sorted(set(rows)), strict=True))


# By the primary key.
_EXTENT = """
select greatest($2, (select hour from usage_event_hour where account = $1 order by hour limit 1)) as first,
    least($3, (select hour from usage_event_hour where account = $1 order by hour desc limit 1)) as last
"""


async def extent(conn: Connection, account: int, *, start: datetime | None, end: datetime | None) -> range:
    """The hours of a range of time, as far as the account has events of earlier and of later ones."""
    first, last = (None if at is None else (at - _EPOCH) // _MICROSECOND >> _HOUR_BITS for at in (start, end))
    row = await conn.fetchrow(_EXTENT, account, first, last)
    return range(row["first"], row["last"] + 1) if row and None not in row.values() else range(0)


# The nearest stretches of each hour, then the nearest of all; by the primary key. A stretch that begins before the
# first number may end behind it.
# ruff: noqa: S608 - built from constants
_READ = both_ways(f"""
select distinct first_no, last_no from generate_series($2::integer, $3::integer) as wanted (number), lateral (
    select first_no, last_no from usage_event_hour
    where account = $1 and hour = wanted.number
        and first_no > $4 - {_SHARED_NUMBERS} and last_no > $4 and first_no < $5
    order by first_no <direction> limit $6
) as found
order by first_no <direction> limit $6
""")


async def read(conn: Connection, account: int, *, hours: range, between: tuple[int, int], is_down: bool) -> Places:
    """Where events of these hours may stand between two numbers, from the last number down or from the first up."""
    if len(hours) > HOURS_MAX:
        return EVERYWHERE
    rows = await conn.fetch(_READ[is_down], account, hours.start, hours.stop - 1, *between, ROWS_MAX)
    found = [(row["first_no"], row["last_no"]) for row in rows]
    if len(found) < ROWS_MAX:
        return Places(_joined(found, is_down=is_down))
    # Stretches that lie beside or around the last one may be missing.
    first = found[-1][0] - found[-1][0] % _SHARED_NUMBERS
    known = [one for one in found if not first <= one[0] < first + _SHARED_NUMBERS]
    return Places(_joined(known, is_down=is_down), first + _SHARED_NUMBERS if is_down else first - 1)


def _joined(found: Collection[Stretch], *, is_down: bool) -> tuple[Stretch, ...]:
    """The same numbers in as few stretches as possible."""
    joined: list[Stretch] = []
    for first, last in sorted(found):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return tuple(joined[::-1] if is_down else joined)


# What lies before an account's first event; by the primary keys of both tables.
_TRIM = """
delete from usage_event_hour using account, lateral (
    select event_no from usage_event as e where e.account = account.account order by event_no limit 1
) as kept
where usage_event_hour.account = account.account and usage_event_hour.last_no < kept.event_no
"""


async def trim(conn: Connection) -> None:
    """Forget where events stood that were dropped. The caller has usage_event for itself, so that none is under way.

    An account without any raw event keeps its rows, which lead to nothing.
    """
    await conn.execute(_TRIM)
