"""One batch, counted in the caller's transaction, in two parts: what does not depend on what was counted before, and
the rest.

    prepare(conn, batch, ...) -> Prepared    may go on while the batch before this one is not committed
    complete(conn, prepared) -> Outcome      once it is
    count(conn, batch, ...) -> Outcome       both

The order of the steps and why:

1. Hold metrics still: none is born between here and the commit, so history and live counting meet exactly. If one is
   young, its history stands still as well.
2. Alias numbers. 3. Event numbers. 4. Ids that nobody has seen lately. 5. Raw rows of these, which are folded
   meanwhile.

6. The other ids: what is new, what is a duplicate, what corrects what. 7. Raw rows of these; fold what lives, take back
   what was replaced. 8. Say where the events of which hours stand. 9. Merge into the counters.

Locks are taken in one order (position, aliases, ids, hours, counters), each sorted: aggregators wait for each other,
never deadlock. Where there is one stream one aggregator claims ids at a time, so they may be claimed in two runs
(correct.py), and what is prepared may come before the position (ahead.py): a batch and the next one never prepare the
same ids, and the next one waits for aliases that are new in this one, but not the other way round. Only the replay of a
dead letter may meet what is prepared; if the two ever wait for each other Postgres ends one, and it is done again.
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
from meter.correct import Claimed, Settled
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


class Prepared(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A batch of which those events are stored and folded that are new and alone (`claimed.is_single`)."""

    known: Mapping[int, Counting]
    aliases: Mapping[tuple[int, str], int]
    received: Received
    claimed: Claimed
    deltas: Deltas

    @property
    def batch(self) -> Batch:
        """All of it."""
        return self.claimed.batch


async def count(conn: Connection, batch: Batch, *, numbers: Numbers, is_sharded: bool) -> Outcome:
    """Count a batch that has the caller's transaction for itself."""
    return await complete(conn, await prepare(conn, batch, numbers=numbers), is_sharded=is_sharded)


async def prepare(conn: Connection, batch: Batch, *, numbers: Numbers, recent: Recent | None = None) -> Prepared:
    """Count what is new, as far as `recent` knows; without it nothing is.

    Everything becomes true with the caller's commit, or nothing. Before the commit there has to be a `complete`.
    """
    if batch.events > event.NUMBERS_PER_BLOCK:
        raise AssertionError(f"{batch.events} events in one batch")
    known = await counting.hold(conn, {placed.block.account for placed in batch.blocks})
    aliases = await usage_alias.intern(conn, _unnumbered(batch, numbers))
    first_no = await event.take_numbers(conn)
    claimed = await correct.claim(conn, batch, first_no=first_no, recent=recent)
    received = _received(batch, first_no, numbers=numbers, aliases=aliases)
    deltas = Deltas()
    if (is_single := claimed.is_single).any():
        await _store(conn, received, deltas, known, stored=is_single, lives=is_single, states={})
    return Prepared(known=known, aliases=aliases, received=received, claimed=claimed, deltas=deltas)


async def complete(
    conn: Connection, prepared: Prepared, *, is_sharded: bool, meanwhile: Callable[[], object] = lambda: None
) -> Outcome:
    """Count the rest, after everything that was received before is counted.

    `meanwhile` is called when the rest of the work is Postgres', and no more ids are claimed.
    """
    known, deltas, first_no = prepared.known, prepared.deltas, prepared.received.first_no
    settled = await correct.settle(conn, prepared.claimed, is_sharded=is_sharded)
    received = _retimed(prepared.received, settled.retimed)
    stored = ~prepared.claimed.is_single
    stored[_places(received, settled.unstored)] = False
    if stored.any():
        lives = stored.copy()
        lives[_places(received, settled.states)] = False
        await _store(conn, received, deltas, known, stored=stored, lives=lives, states=settled.states)
    _fold_stored(deltas, settled, known)
    meanwhile()
    await event_hour.add(conn, _hours(received, settled))
    await counter.merge(conn, deltas, counting=known, is_contended=is_sharded)
    return Outcome(
        counted=len(received) - len(settled.unstored),
        duplicates=len(settled.duplicates),
        corrections=settled.corrections,
        first_no=first_no,
        aliases=prepared.aliases,
        dropped=tuple(number - first_no for number in sorted(settled.dropped)),
    )


def _unnumbered(batch: Batch, numbers: Numbers) -> set[tuple[int, str]]:
    """The names in the batch that have no number yet, as far as we know."""
    # A cancellation names nobody.
    return {(account, name) for account, name in batch.names if name and name not in numbers[account]}


def _received(batch: Batch, first_no: int, *, numbers: Numbers, aliases: Mapping[tuple[int, str], int]) -> Received:
    of_names = [
        (numbers[account].get(name) or aliases[account, name]) if name else _NOBODY for account, name in batch.names
    ]
    return Received(
        first_no=first_no,
        columns=batch.columns,
        aliases=np.array(of_names, np.int32)[batch.name_places],
        timestamps=batch.columns.timestamps,
    )


def _retimed(received: Received, times: Mapping[int, int]) -> Received:
    """With other timestamps, by event number."""
    if not times:
        return received
    timestamps = received.timestamps.copy()
    timestamps[_places(received, times)] = list(times.values())
    return msgspec.structs.replace(received, timestamps=timestamps)


def _places(received: Received, numbers: Iterable[int]) -> list[int]:
    return [number - received.first_no for number in numbers]


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


async def _store(
    conn: Connection,
    received: Received,
    deltas: Deltas,
    known: Mapping[int, Counting],
    *,
    stored: NDArray[np.bool_],
    lives: NDArray[np.bool_],
    states: Mapping[int, str],
) -> None:
    """Store some events, by place, and fold those that live while Postgres does it."""
    saving = asyncio.create_task(event.save(conn, received, np.flatnonzero(stored), states=states))
    try:
        await _fold(received, deltas, known, lives)
    except BaseException:
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
        raise
    await saving


async def _fold(received: Received, deltas: Deltas, known: Mapping[int, Counting], lives: NDArray[np.bool_]) -> None:
    """What these events change. It pauses often, so that whoever sends the raw rows comes to send."""
    rules = {account: fold.rules(one.metrics) for account, one in known.items()}
    # Those between them are passed over, which costs less than to take many apart.
    near = np.arange(len(received)) if 2 * np.count_nonzero(lives) > len(received) else np.flatnonzero(lives)
    for account, own in _by_account(received.columns.accounts[near]):
        for start in range(0, len(own), _PIECE_EVENTS):
            events = _occurrences(received, lives, near[own[start : start + _PIECE_EVENTS]])
            fold.fold(deltas, rules[account], account=account, events=events)
            await asyncio.sleep(0)
    # Here, while Postgres stores, and not where it is needed.
    deltas.cells()


def _fold_stored(deltas: Deltas, settled: Settled, known: Mapping[int, Counting]) -> None:
    """What changes with stored events that are replaced, or revived."""
    for sign, versions in ((-1, settled.replaced), (1, settled.revived)):
        for account, stored in _stored(versions).items():
            rules = fold.rules(known[account].metrics)
            fold.fold(deltas, rules, account=account, events=fold.occurrences(stored), sign=sign)


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
