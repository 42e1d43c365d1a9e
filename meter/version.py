"""The versions of one id: what stands after all that was received of it. Pure.

    walk(items in the order of receipt) -> Walk

    content, where nothing stands       stands
    other content than what stands      stands, and what stood is superseded
    the same content as what stands     a repeat: changes nothing, also after a cancellation
    a cancellation                      cancels what stands, until other content comes

Several streams are read in no particular order, so an item may arrive after later ones were counted. Then the walk is
repeated over everything that is known of the id, and the difference to what was counted takes effect: so the outcome
depends on the order of receipt alone.

Content without a timestamp of the sender's keeps the time of what it replaces, and has its time of receipt if it
replaces nothing. That too follows from the walk, for rows that are stored already as well.
"""

from collections.abc import Iterable, Mapping

import msgspec

from meter import identity
from meter.batch import Order
from store import event, event_version
from store.event import Version
from store.event_version import CANCELLATION


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was received. `event_no`: the row of this content, where `is_new` says whether it is stored yet.

    `timestamp` is the sender's, or else the time of receipt; None where it does not matter.
    """

    order: Order
    digest: int
    event_no: int
    is_new: bool
    timestamp: int | None = None
    has_own_timestamp: bool = True


class Walk(msgspec.Struct, frozen=True):
    """What became of an id. `standing` is None if all that came are cancellations.

    It bears the time that follows. `repeats`: numbers of items that are the same again -> the row that they repeat.
    `retimed`: new times of new rows.
    """

    standing: Item | None
    is_cancelled: bool
    repeats: Mapping[int, int]
    retimed: Mapping[int, int]


def walk(items: Iterable[Item]) -> Walk:
    """What stands after these items, which are in the order of receipt."""
    standing: Item | None = None
    is_cancelled = False
    repeats: dict[int, int] = {}
    retimed: dict[int, int] = {}
    for one in items:
        if one.digest == CANCELLATION:
            is_cancelled = True
        elif standing is not None and one.digest == standing.digest:
            standing = _repeat(standing, one, repeats)
        else:
            standing, is_cancelled = _replace(standing, one, retimed), False
    return Walk(
        standing, is_cancelled, repeats, {number: at for number, at in retimed.items() if number not in repeats}
    )


def only(row: Version, *, digest: int) -> Item:
    """The only version of an id, which has no history yet."""
    # Then its time is the sender's or that of receipt, and its content tells which.
    untimed = identity.digest(
        alias=row.alias_value, event_type=row.event_type, timestamp=None, properties=row.properties.encode()
    )
    return Item(
        order=row.order,
        digest=digest,
        event_no=row.event_no,
        is_new=False,
        timestamp=row.timestamp,
        has_own_timestamp=digest != untimed,
    )


def items(history: Iterable[event_version.Item], rows: Mapping[int, Version]) -> list[Item]:
    """A stored history as items; `rows` are those that it names, by number, as far as they are kept."""
    return [
        Item(
            order=one.order,
            digest=one.digest,
            event_no=one.event_no or 0,
            is_new=False,
            timestamp=_time(one, rows),
            has_own_timestamp=one.untimed_at is None,
        )
        for one in history
    ]


def after(walk: Walk, row: Version) -> Version:
    """A stored row as a walk leaves it."""
    standing = walk.standing
    if standing is None or standing.event_no != row.event_no:
        return msgspec.structs.replace(row, state=event.SUPERSEDED)
    at = row.timestamp if standing.timestamp is None else standing.timestamp
    return msgspec.structs.replace(row, state=state(walk, row.event_no), timestamp=at)


def state(walk: Walk, event_no: int) -> str:
    """The state of a row after a walk."""
    if walk.standing is None or walk.standing.event_no != event_no:
        return event.SUPERSEDED
    return event.CANCELLED if walk.is_cancelled else event.LIVE


def _time(one: event_version.Item, rows: Mapping[int, Version]) -> int | None:
    if one.untimed_at is not None:
        return one.untimed_at
    row = rows.get(one.event_no or 0)
    return row.timestamp if row else None


def _repeat(standing: Item, one: Item, repeats: dict[int, int]) -> Item:
    """The same content again: one row speaks for both, that which is stored already."""
    kept, other = (one, standing) if standing.is_new and not one.is_new else (standing, one)
    if other.event_no != kept.event_no:
        # Nothing names what is new, and a client may repeat itself a hundred thousand times.
        for number, row in () if other.is_new and other is one else repeats.items():
            if row == other.event_no:
                repeats[number] = kept.event_no
        repeats[other.event_no] = kept.event_no
    # The time is that of the first of both, which has it from what stood before.
    return msgspec.structs.replace(kept, timestamp=standing.timestamp)


def _replace(standing: Item | None, one: Item, retimed: dict[int, int]) -> Item:
    if standing is None or standing.timestamp is None or one.has_own_timestamp:
        return one
    if one.is_new:
        retimed[one.event_no] = standing.timestamp
    return msgspec.structs.replace(one, timestamp=standing.timestamp)
