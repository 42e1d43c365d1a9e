"""The versions of one id: what stands after all that was received of it. Pure.

    walk(items in the order of receipt) -> Walk

    content, where nothing stands       stands
    other content than what stands      stands, and what stood is superseded
    the same content as what stands     a repeat: changes nothing, also after a cancellation
    a cancellation                      cancels what stands, until other content comes

Several streams are read in no particular order, so an item may arrive after later ones were counted. Then the walk is
repeated over everything that is known of the id, and the difference to what was counted takes effect: so the outcome
depends on the order of receipt alone.

Content without a timestamp of the sender's keeps the time of what it replaces.
"""

from collections.abc import Iterable, Mapping

import msgspec

from meter.batch import Order
from store.event_version import CANCELLATION


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was received. `event_no`: the row of this content, where `is_new` says whether it is stored yet.

    `timestamp` is None where it does not matter.
    """

    order: Order
    digest: int
    event_no: int
    is_new: bool
    timestamp: int | None = None
    has_own_timestamp: bool = True


class Walk(msgspec.Struct, frozen=True):
    """What became of an id. `standing` is None if all that came are cancellations.

    `repeats`: numbers of items that are the same again -> the row that they repeat. `retimed`: new times of new rows.
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


def _repeat(standing: Item, one: Item, repeats: dict[int, int]) -> Item:
    """The same content again: one row speaks for both, that which is stored already."""
    kept, other = (one, standing) if standing.is_new and not one.is_new else (standing, one)
    if other.event_no != kept.event_no:
        for number, row in repeats.items():
            if row == other.event_no:
                repeats[number] = kept.event_no
        repeats[other.event_no] = kept.event_no
    return kept


def _replace(standing: Item | None, one: Item, retimed: dict[int, int]) -> Item:
    if standing is None or standing.timestamp is None or one.has_own_timestamp or not one.is_new:
        return one
    retimed[one.event_no] = standing.timestamp
    return msgspec.structs.replace(one, timestamp=standing.timestamp)
