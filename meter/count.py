"""One batch, counted in the caller's transaction: ids, raw rows, corrections, counters. The order of the steps and why:

1. Hold metrics still: none is born between here and the commit, so history and live counting meet exactly. If one is
   young, its history stands still as well.
2. Alias numbers. 3. Event numbers. 4. Ids: what is new, what is a duplicate, what corrects what.
5. Raw rows. 6. Fold what lives, take back what was replaced. 7. Say where the events of which hours stand.
8. Merge into the counters.

Locks are taken in one order (position, aliases, ids, hours, counters), each sorted: aggregators wait for each other,
never deadlock. Where there is one stream nobody else claims ids, and they may be claimed in two runs (correct.py).
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from meter import correct, fold
from meter.batch import Batch
from meter.correct import Settled
from meter.fold import Occurrences
from meter.recent import Recent
from store import counter, counting, event, event_hour, usage_alias
from store.counter import Deltas
from store.counting import Counting
from store.db import Connection
from store.event import Received, Version

# The alias of cancellations, which make no row.
_NOBODY = 0
# What is folded between two looks at the connection that stores: some milliseconds, and what the caches hold.
_PIECE_EVENTS = 4_000
# account -> alias -> number; accounts that nobody knows are there all the same.
Numbers: TypeAlias = "defaultdict[int, dict[str, int]]"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch came to. `aliases` may be remembered once the transaction is committed, not before."""

    counted: int
    duplicates: int
    corrections: int
    # The events of the batch have the numbers from here on, in their order.
    first_no: int
    aliases: Mapping[tuple[int, str], int]
    # The places of events that ask for another version of what is not kept any more.
    dropped: tuple[int, ...] = ()


async def count(
    conn: Connection,
    batch: Batch,
    *,
    numbers: Numbers,
    is_sharded: bool,
    recent: Recent | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Outcome:
    """Count a batch. Everything it does becomes true with the caller's commit, or nothing.

    `meanwhile` is called when the rest of the work is Postgres'.
    """
    if batch.events > event.NUMBERS_PER_BLOCK:
        raise AssertionError(f"{batch.events} events in one batch")
    if not batch.events:
        return Outcome(counted=0, duplicates=0, corrections=0, first_no=0, aliases={})
    known = await counting.hold(conn, {placed.block.account for placed in batch.blocks})
    aliases = await usage_alias.intern(conn, _unnumbered(batch, numbers))
    first_no = await event.take_numbers(conn)
    settled = await correct.settle(conn, batch, first_no=first_no, is_sharded=is_sharded, recent=recent)
    received = _received(batch, first_no, settled, numbers=numbers, aliases=aliases)
    # Postgres stores the raw rows while we fold.
    saving = asyncio.create_task(event.save(conn, received, unstored=settled.unstored, states=settled.states))
    try:
        deltas = await _fold(received, settled, known)
        hours = _hours(received, settled)
    except BaseException:
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
        raise
    await saving
    await event_hour.add(conn, hours)
    await counter.merge(conn, deltas, counting=known, is_contended=is_sharded, meanwhile=meanwhile)
    return Outcome(
        counted=batch.events - len(settled.unstored),
        duplicates=len(settled.duplicates),
        corrections=settled.corrections,
        first_no=first_no,
        aliases=aliases,
        dropped=tuple(number - first_no for number in sorted(settled.dropped)),
    )


def _unnumbered(batch: Batch, numbers: Numbers) -> set[tuple[int, str]]:
    """The names in the batch that have no number yet, as far as we know."""
    # A cancellation names nobody.
    return {(account, name) for account, name in batch.names if name and name not in numbers[account]}


def _received(
    batch: Batch, first_no: int, settled: Settled, *, numbers: Numbers, aliases: Mapping[tuple[int, str], int]
) -> Received:
    of_names = [
        (numbers[account].get(name) or aliases[account, name]) if name else _NOBODY for account, name in batch.names
    ]
    timestamps = batch.columns.timestamps
    if settled.retimed:
        timestamps = timestamps.copy()
        timestamps[[number - first_no for number in settled.retimed]] = list(settled.retimed.values())
    return Received(
        first_no=first_no,
        columns=batch.columns,
        aliases=np.array(of_names, np.int32)[batch.name_places],
        timestamps=timestamps,
    )


def _hours(received: Received, settled: Settled) -> list[event_hour.Row]:
    """Where the batch's events stand, and stored ones that have another time now."""
    rows = [event_hour.stretch(account, event_no=number, timestamp=at) for account, number, at in settled.times]
    for account, places in _by_account(received.columns.accounts):
        rows.extend(event_hour.stretches(account, block=received.first_no, timestamps=received.timestamps[places]))
    return rows


def _by_account(accounts: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each account, and the places of its events in their order."""
    places = accounts.argsort(kind="stable")
    starts = np.flatnonzero(np.diff(accounts[places], prepend=-1)).tolist()
    for start, stop in pairwise([*starts, len(places)]):
        yield int(accounts[places[start]]), places[start:stop]


async def _fold(received: Received, settled: Settled, known: Mapping[int, Counting]) -> Deltas:
    """What the batch changes. It pauses often, so that whoever sends the raw rows comes to send."""
    deltas = Deltas()
    rules = {account: fold.rules(one.metrics) for account, one in known.items()}
    lives = np.ones(len(received), np.bool_)
    lives[[number - received.first_no for number in settled.unstored | settled.states.keys()]] = False
    for account, own in _by_account(received.columns.accounts):
        for start in range(0, len(own), _PIECE_EVENTS):
            events = _occurrences(received, lives, own[start : start + _PIECE_EVENTS])
            fold.fold(deltas, rules[account], account=account, events=events)
            await asyncio.sleep(0)
    for sign, versions in ((-1, settled.replaced), (1, settled.revived)):
        for account, stored in _stored(versions).items():
            fold.fold(deltas, rules[account], account=account, events=fold.occurrences(stored), sign=sign)
    # Here, while Postgres stores, and not where it is needed.
    deltas.cells()
    return deltas


def _stored(versions: Iterable[Version]) -> dict[int, list[tuple[int, int, str, int, str]]]:
    """Stored versions as what happened, by account."""
    found: defaultdict[int, list[tuple[int, int, str, int, str]]] = defaultdict(list)
    for one in versions:
        found[one.account].append((one.event_no, one.alias, one.event_type, one.timestamp, one.properties))
    return found


def _occurrences(received: Received, lives: NDArray[np.bool_], places: NDArray[np.int64]) -> Occurrences:
    """The events at these places."""
    return Occurrences(
        numbers=received.first_no + places,
        aliases=received.aliases[places],
        type_names=received.columns.type_names,
        types=received.columns.types[places],
        timestamps=received.timestamps[places],
        lines=received.columns.lines_at(places),
        lives=lives[places],
    )
