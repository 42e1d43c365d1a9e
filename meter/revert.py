"""A closed backfill, taken back: every id stands as if the load had never been there.

    revert(conn, account, of=...)       in the caller's transaction, which has stopped counting

Theory of operation
    What an id stands for follows from the history of what was received of it (version.py). Everything that a close
    received stands at one place in the order of receipt, so taking it back is: strike those items out, walk what is
    left, and let the difference take effect on keys, rows and counters. It does not matter what has happened since:
    corrections, cancellations, other backfills and their reverts are items of the same history.

    Content that the load and somebody else sent is one row, but an item for each: a repeat of what a backfill brought
    is remembered (correct.py). Ids of which the load only repeated what was there are looked at like the others.

    An id of which nothing is left is free, and may be sent again. Rows of the load that no other item names go back
    to where nobody sees them. A row that does stays: the same content was received once more, on its own.

    Pieces need not hold all rows of an id: a piece decides from what is stored then, and a second look changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import msgspec

from meter import fold, version
from store import backfill_event, counter, counting, event, event_hour, event_key, event_version
from store.backfill import Backfill
from store.counter import Deltas
from store.counting import Counting
from store.db import Connection
from store.event import LIVE, Version
from store.event_key import Claims
from store.event_version import CANCELLATION, Item

_Standing = tuple[int, int]


class Unrevertible(Exception):
    """A backfill cannot be taken back any more; the message says why."""


class _Changes(msgspec.Struct, frozen=True):
    """What a piece comes to: ids that are free, ids that stand for another row, states and times of rows, and
    contributions.
    """

    freed: list[UUID] = []
    moved: dict[UUID, _Standing] = {}
    states: list[tuple[int, int, str]] = []
    times: list[tuple[int, int, int]] = []
    taken: list[Version] = []
    given: list[Version] = []


async def revert(conn: Connection, account: int, *, of: Backfill, piece_events_max: int) -> None:
    """Take a closed backfill back."""
    stored = await backfill_event.count_own(conn, account, of=of)
    if stored != of.counts.counted:
        raise Unrevertible(
            f"Only {stored} of its {of.counts.counted} events are still kept as raw events. "
            "Correct or cancel them by their ids."
        )
    known = (await counting.read(conn, [account]))[account]
    for start, stop in of.numbers:
        at = start
        while rows := await backfill_event.own(conn, account, numbers=(at, stop), limit=piece_events_max):
            await _strike(conn, account, of, rows=rows, known=known)
            at = rows[-1][0] + 1
    after: UUID | None = None
    while keys := await backfill_event.replaced(conn, account, of=of.id, after=after, limit=piece_events_max):
        await _strike(conn, account, of, rows=[(-1, key) for key in keys], known=known)
        after = keys[-1]
    await backfill_event.forget_replaced(conn, account, of=of.id)


async def _strike(
    conn: Connection, account: int, of: Backfill, *, rows: Sequence[tuple[int, UUID]], known: Counting
) -> None:
    """Strike the load's items out of the history of some ids. `rows` are the load's; -1 where it stored none."""
    keys = sorted({key for _, key in rows})
    before = await backfill_event.standing(conn, account, keys=keys)
    named_before = _named(await _history(conn, account, keys)) | {number for number, _ in rows if number >= 0}
    await backfill_event.forget_items(conn, account, of=of, keys=keys)
    history = await _history(conn, account, keys)
    named = _named(history)
    # Another backfill may have stored a row, and been reverted since.
    gone = named_before - named
    numbers = named | {event_no for event_no, _ in before.values()}
    found = await event.versions(conn, [(account, number) for number in sorted(numbers)]) if numbers else []
    changes = _decide(before, history, versions={one.event_no: one for one in found}, gone=gone)
    await _write(conn, account, changes, gone=gone)
    # Before counters: MAX and its like are counted again from what is stored then.
    await backfill_event.withdraw(conn, account, of=of.id, numbers=gone)
    await _merge(conn, account, changes, known)


async def _history(conn: Connection, account: int, keys: Sequence[UUID]) -> dict[UUID, Sequence[Item]]:
    found = await event_version.read(conn, [(account, key) for key in keys])
    return {key: items for (_, key), items in found.items()}


def _named(history: Mapping[UUID, Sequence[Item]]) -> set[int]:
    return {item.event_no for items in history.values() for item in items if item.event_no is not None}


def _decide(
    before: Mapping[UUID, _Standing],
    history: Mapping[UUID, Sequence[Item]],
    *,
    versions: Mapping[int, Version],
    gone: Collection[int],
) -> _Changes:
    changes = _Changes([], {}, [], [], [], [])
    for key, (number, digest) in before.items():
        items = history.get(key, ())
        if not items and number not in gone and digest != CANCELLATION:
            raise AssertionError(f"id {key} stands for event {number}, which nobody sent")
        walk = version.walk(version.items(items, versions))
        after = (walk.standing.event_no, walk.standing.digest) if walk.standing else (number, CANCELLATION)
        if {row for row, content in ((number, digest), after) if content != CANCELLATION} - versions.keys():
            raise Unrevertible("Events that it corrected or replaced are not kept as raw events any more.")
        if not items:
            changes.freed.append(key)
        elif after != (number, digest):
            changes.moved[key] = after
        for event_no in {number, after[0]} & versions.keys():
            _change(changes, versions[event_no], version.after(walk, versions[event_no]))
    return changes


def _change(changes: _Changes, row: Version, after: Version) -> None:
    if after.state != row.state:
        changes.states.append((row.account, row.event_no, after.state))
    if after.timestamp != row.timestamp:
        changes.times.append((row.account, row.event_no, after.timestamp))
    if after != row and row.state == LIVE:
        changes.taken.append(row)
    if after != row and after.state == LIVE:
        changes.given.append(after)


async def _write(conn: Connection, account: int, changes: _Changes, *, gone: Collection[int]) -> None:
    await backfill_event.free(conn, account, keys=changes.freed)
    if changes.moved:
        moved = [(key, number, digest) for key, (number, digest) in changes.moved.items()]
        await event_key.correct(conn, Claims.of(account, moved))
    await event.set_states(conn, [one for one in changes.states if one[1] not in gone])
    await event.set_times(conn, changes.times)
    await event_hour.add(
        conn, [event_hour.stretch(account, event_no=number, timestamp=at) for _, number, at in changes.times]
    )


async def _merge(conn: Connection, account: int, changes: _Changes, known: Counting) -> None:
    deltas, rules = Deltas(), fold.rules(known.metrics)
    for sign, rows in ((-1, changes.taken), (1, changes.given)):
        events = [(one.event_no, one.alias, one.event_type, one.timestamp, one.properties) for one in rows]
        fold.fold(deltas, rules, account=account, events=fold.occurrences(events), sign=sign)
    await counter.merge(conn, deltas, counting={account: known})
