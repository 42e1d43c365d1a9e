"""One batch, counted in the caller's transaction: ids, raw rows, corrections, counters. The order of the steps and why:

1. Hold metrics still: none is born between here and the commit, so history and live counting meet exactly. If one is
   young, its history stands still as well.
2. Alias numbers. 3. Event numbers. 4. Ids: what is new, what is a duplicate, what corrects what.
5. Raw rows. 6. Fold what lives, take back what was replaced. 7. Merge into the counters.

Locks are taken in one order (position, aliases, ids, counters), each sorted: aggregators wait for each other, never
deadlock.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from meter import correct, fold
from meter.batch import Batch, Placed
from meter.correct import Settled
from store import counter, counting, event, usage_alias
from store.counter import Deltas
from store.counting import Counting
from store.db import Connection
from store.event import Received

# The alias of cancellations, which make no row.
_NOBODY = 0
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


async def count(conn: Connection, batch: Batch, *, numbers: Numbers, is_sharded: bool) -> Outcome:
    """Count a batch. Everything it does becomes true with the caller's commit, or nothing."""
    if batch.events > event.NUMBERS_PER_BLOCK:
        raise AssertionError(f"{batch.events} events in one batch")
    known = await counting.hold(conn, {placed.block.account for placed in batch.blocks})
    aliases = await usage_alias.intern(conn, _unnumbered(batch, numbers))
    first_no = await event.take_numbers(conn)
    settled = await correct.settle(conn, batch, first_no=first_no, is_sharded=is_sharded)
    received = [_received(placed, first_no, settled, numbers=numbers, aliases=aliases) for placed in batch.blocks]
    await event.save(conn, received, unstored=settled.unstored, states=settled.states)
    await counter.merge(conn, _fold(received, settled, known), counting=known)
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
        # A cancellation names nobody.
        names = set(placed.block.aliases) - numbers.get(account, {}).keys() - {""}
        found.update((account, alias) for alias in names)
    return found


def _received(
    placed: Placed, first_no: int, settled: Settled, *, numbers: Numbers, aliases: Mapping[tuple[int, str], int]
) -> Received:
    block = placed.block
    known = numbers.get(block.account, {})
    names = {name: known[name] if name in known else aliases[block.account, name] for name in {*block.aliases} - {""}}
    names[""] = _NOBODY
    first = first_no + placed.first_place
    return Received(
        account=block.account,
        received_at=block.received_at,
        entry_ms=placed.entry_ms,
        entry_sequence=placed.entry_sequence,
        first_index=placed.first_index,
        first_no=first,
        keys=placed.keys,
        ids=block.ids,
        aliases=[names[name] for name in block.aliases],
        types=block.types,
        timestamps=_timestamps(block.timestamps, first, settled.retimed),
        properties=block.properties,
    )


def _timestamps(timestamps: list[int], first_no: int, retimed: Mapping[int, int]) -> list[int]:
    if not retimed:
        return timestamps
    return [retimed.get(event_no, timestamp) for event_no, timestamp in enumerate(timestamps, first_no)]


def _fold(received: Sequence[Received], settled: Settled, known: Mapping[int, Counting]) -> Deltas:
    deltas = Deltas()
    dead = settled.unstored | settled.states.keys()
    rules = {account: fold.rules(one.metrics) for account, one in known.items()}
    for one in received:
        fold.fold(deltas, rules[one.account], account=one.account, events=_living(one, dead))
    for sign, versions in ((-1, settled.replaced), (1, settled.revived)):
        for old in versions:
            one_: fold.Occurrence = (old.event_no, old.alias, old.event_type, old.timestamp, old.properties)
            fold.fold(deltas, rules[old.account], account=old.account, events=[one_], sign=sign)
    return deltas


def _living(one: Received, dead: frozenset[int]) -> Iterable[fold.Occurrence]:
    numbers = range(one.first_no, one.first_no + len(one.types))
    events = zip(numbers, one.aliases, one.types, one.timestamps, one.properties, strict=True)
    if not dead:
        return events
    return (event for event in events if event[0] not in dead)
