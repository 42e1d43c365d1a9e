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
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress

import msgspec

from meter import correct, fold
from meter.batch import Batch, Placed
from meter.correct import Settled
from meter.fold import Occurrences
from meter.recent import Recent
from store import counter, counting, event, event_hour, usage_alias
from store.counter import Deltas
from store.counting import Counting
from store.db import Connection
from store.event import Received

# The alias of cancellations, which make no row.
_NOBODY = 0
# What is folded between two looks at the connection that stores: some milliseconds.
_PIECE_EVENTS = 2_000
# account -> alias -> number
Numbers = dict[int, dict[str, int]]


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
    known = await counting.hold(conn, {placed.block.account for placed in batch.blocks})
    aliases = await usage_alias.intern(conn, _unnumbered(batch, numbers))
    first_no = await event.take_numbers(conn)
    settled = await correct.settle(conn, batch, first_no=first_no, is_sharded=is_sharded, recent=recent)
    received = [_received(placed, first_no, settled, numbers=numbers, aliases=aliases) for placed in batch.blocks]
    # Postgres stores the raw rows while we fold.
    saving = asyncio.create_task(event.save(conn, received, unstored=settled.unstored, states=settled.states))
    try:
        deltas = await _fold(received, settled, known)
        hours = _hours(received, settled, first_no)
    except BaseException:
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
        raise
    await saving
    meanwhile()
    await event_hour.add(conn, hours)
    await counter.merge(conn, deltas, counting=known)
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
    found: set[tuple[int, str]] = set()
    for placed in batch.blocks:
        account = placed.block.account
        known = numbers.get(account, {})
        # A cancellation names nobody.
        found.update([(account, name) for name in placed.block.alias_names if name not in known and name])
    return found


def _received(
    placed: Placed, first_no: int, settled: Settled, *, numbers: Numbers, aliases: Mapping[tuple[int, str], int]
) -> Received:
    block = placed.block
    known = numbers.get(block.account, {})
    named = [
        (known[name] if name in known else aliases[block.account, name]) if name else _NOBODY
        for name in block.alias_names
    ]
    first = first_no + placed.first_place
    return Received(
        account=block.account,
        received_at=block.received_at,
        entry_ms=placed.entry_ms,
        entry_sequence=placed.entry_sequence,
        first_index=placed.first_index,
        first_no=first,
        keys=placed.block.keys,
        ids=block.ids,
        aliases=[named[place] for place in block.alias_places],
        type_names=block.type_names,
        types=block.type_places,
        timestamps=_timestamps(block.timestamps, first, settled.retimed),
        properties=block.properties,
    )


def _timestamps(timestamps: Sequence[int], first_no: int, retimed: Mapping[int, int]) -> Sequence[int]:
    if not retimed:
        return timestamps
    return [retimed.get(event_no, timestamp) for event_no, timestamp in enumerate(timestamps, first_no)]


def _hours(received: Sequence[Received], settled: Settled, first_no: int) -> list[event_hour.Row]:
    """Where the batch's events stand, and stored ones that have another time now."""
    timestamps: defaultdict[int, list[Sequence[int]]] = defaultdict(list)
    for one in received:
        timestamps[one.account].append(one.timestamps)
    rows = [event_hour.stretch(account, event_no=number, timestamp=at) for account, number, at in settled.times]
    for account, found in timestamps.items():
        rows.extend(event_hour.stretches(account, block=first_no, timestamps=found))
    return rows


async def _fold(received: Sequence[Received], settled: Settled, known: Mapping[int, Counting]) -> Deltas:
    """What the batch changes. It pauses often, so that whoever sends the raw rows comes to send."""
    deltas = Deltas()
    rules = {account: fold.rules(one.metrics) for account, one in known.items()}
    dead = settled.unstored | settled.states.keys()
    for account, blocks in _pieces(received):
        fold.fold(deltas, rules[account], account=account, events=_occurrences(blocks, dead))
        await asyncio.sleep(0)
    for sign, versions in ((-1, settled.replaced), (1, settled.revived)):
        for old in versions:
            again = fold.occurrences([(old.event_no, old.alias, old.event_type, old.timestamp, old.properties)])
            fold.fold(deltas, rules[old.account], account=old.account, events=again, sign=sign)
    return deltas


def _pieces(received: Sequence[Received]) -> Iterator[tuple[int, Sequence[Received]]]:
    """Blocks of one account, as many as make a piece worth folding."""
    waiting: defaultdict[int, list[Received]] = defaultdict(list)
    sizes: defaultdict[int, int] = defaultdict(int)
    for one in received:
        waiting[one.account].append(one)
        sizes[one.account] += len(one.properties)
        if sizes[one.account] >= _PIECE_EVENTS:
            del sizes[one.account]
            yield one.account, waiting.pop(one.account)
    yield from waiting.items()


def _occurrences(blocks: Sequence[Received], dead: frozenset[int]) -> Occurrences:
    """What lives of these blocks, one after the other."""
    found = Occurrences([], [], [], [], [])
    for one in blocks:
        numbers = range(one.first_no, one.first_no + len(one.properties))
        names = one.type_names
        types = [names[0]] * len(numbers) if len(names) == 1 else [names[place] for place in one.types]
        if dead.isdisjoint(numbers):
            found.extend(numbers, one.aliases, types, one.timestamps, one.properties)
            continue
        lives = [number not in dead for number in numbers]
        found.extend(
            compress(numbers, lives),
            compress(one.aliases, lives),
            compress(types, lives),
            compress(one.timestamps, lives),
            compress(one.properties, lives),
        )
    return found
