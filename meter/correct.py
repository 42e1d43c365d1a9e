"""The same id again: a duplicate when the content is the same, a correction when it is not, or a cancellation.

    claim(conn, batch, ...) -> Claimed           claims those of the batch's ids that nobody has seen lately
    settle(conn, claimed, ...) -> Settled        claims the others, and says what becomes of every repeat

What stands of an id follows from everything that was received of it, in the order of receipt (version.py); so it does
not matter how versions fall into batches, nor which stream is read first. Most ids come once: they are claimed, and
nothing else is read or written. A plain retry costs one look at its key, and leaves no trace unless it may decide
something later: when what was received between it and what it repeats may still come (from another stream, from a
backfill that is closing, from a dead letter), or when what it repeats may go (with a backfill that can be reverted).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec
import numpy as np
from numpy.typing import NDArray

from meter import version
from meter.batch import Batch
from meter.recent import Recent
from meter.version import Item, Walk
from store import backfill, event, event_key, event_version
from store.db import Connection
from store.event import Version
from store.event_key import Claims, Known
from store.event_version import CANCELLATION


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch, by event number.

    `states`: of new rows that do not live. `retimed`: new times of new rows. `times`: new times of stored rows, as
    (account, event_no, microseconds since 1970). `replaced` and `revived`: stored versions whose contribution is taken
    back, or given again; one that has another time now is both. `corrections`: how many live no more. `dropped`: what
    asks for another version of an event whose raw row is not kept any more.
    """

    duplicates: frozenset[int]
    dropped: frozenset[int]
    cancellations: frozenset[int]
    states: Mapping[int, str]
    retimed: Mapping[int, int]
    times: Sequence[tuple[int, int, int]]
    replaced: tuple[Version, ...]
    revived: tuple[Version, ...]
    corrections: int

    @property
    def unstored(self) -> frozenset[int]:
        """What makes no row."""
        return self.duplicates | self.cancellations | self.dropped


class _Id(msgspec.Struct, frozen=True):
    """Everything about one id that came again: account and key, what came now, what was stored, and what stands after
    it.
    """

    name: tuple[int, UUID]
    new: Sequence[Item]
    walk: Walk
    known: Known | None = None
    stored: Version | None = None
    before: Sequence[Item] = ()
    has_history: bool = False
    # Whether its repeats may decide something later.
    is_open: bool = False

    @property
    def after(self) -> Version | None:
        """The stored version as it is now."""
        return None if self.stored is None else version.after(self.walk, self.stored)


class Claimed(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A batch of which some ids are claimed. By number of identity: `claims` say what each key shall stand for,
    `is_new` which of them are claimed and were new, `ids` what is known of those that stand in the batch more than
    once or are cancelled there.
    """

    batch: Batch
    first_no: int
    claims: Claims
    is_new: NDArray[np.bool_]
    ids: Mapping[int, _Id]

    @property
    def is_single(self) -> NDArray[np.bool_]:
        """Which events are new and alone: nothing in the batch or before it speaks of the same id."""
        chosen = self.is_new.copy()
        chosen[list(self.ids)] = False
        found = np.zeros(self.batch.events, np.bool_)
        found[self.batch.last_places[chosen]] = True
        return found


async def claim(conn: Connection, batch: Batch, *, first_no: int, recent: Recent | None = None) -> Claimed:
    """Claim the ids that will be new as far as `recent` knows, if all of these are; without it none.

    With other streams it has to be none: two who claim the same ids must do so in one order, which is that of the keys.
    """
    ids = {number: _fresh(batch, number, places, first_no=first_no) for number, places in _repeated(batch).items()}
    claims = _claims(batch, ids, first_no=first_no)
    is_new = np.zeros(len(claims.keys), np.bool_) if recent is None else await _claim_by(recent, conn, claims)
    return Claimed(batch=batch, first_no=first_no, claims=claims, is_new=is_new, ids=ids)


async def settle(conn: Connection, claimed: Claimed, *, is_sharded: bool) -> Settled:
    """Claim the rest of a batch's ids and let corrections take effect on ids and stored versions.

    `is_sharded`: other streams exist, so something that was received earlier may still arrive.
    """
    batch, first_no, ids = claimed.batch, claimed.first_no, dict(claimed.ids)
    known = await _claim(conn, claimed.claims, ~claimed.is_new, is_contended=is_sharded)
    is_open = is_sharded or (bool(ids or known) and await event_version.is_open(conn, before=batch.last))
    ids = {number: msgspec.structs.replace(one, is_open=is_open) for number, one in ids.items()}
    duplicates, dropped = await _meet(conn, batch, known, ids=ids, first_no=first_no, is_open=is_open)
    await _correct(conn, ids)
    await event_version.add(conn, list(_history(ids)))
    return _settled(ids, duplicates, dropped)


async def _claim_by(recent: Recent, conn: Connection, claims: Claims) -> NDArray[np.bool_]:
    """Which ids are claimed and were new: those that are not remembered, or none."""
    is_new = ~recent.among(claims.keys)
    recent.learn(claims.keys)
    if not recent.is_trusted() or not is_new.any():
        return np.zeros_like(is_new)
    try:
        async with conn.transaction():
            await event_key.add(conn, claims.only(is_new))
    except asyncpg.UniqueViolationError:
        recent.was_wrong()
        return np.zeros_like(is_new)
    recent.was_right()
    return is_new


async def _claim(
    conn: Connection, claims: Claims, chosen: NDArray[np.bool_], *, is_contended: bool
) -> dict[int, Known]:
    """The sure way: those that were known, by their place among all claims."""
    places = np.flatnonzero(chosen).tolist()
    if not places:
        return {}
    found = await event_key.claim(conn, claims.only(chosen), is_contended=is_contended)
    return {places[one.place]: one for one in found}


async def _meet(
    conn: Connection,
    batch: Batch,
    known: Mapping[int, Known],
    *,
    ids: dict[int, _Id],
    first_no: int,
    is_open: bool,
) -> tuple[list[int], list[int]]:
    """Walk known ids again, now with what is stored of them; answers the numbers of plain retries, and of what cannot
    take effect because the raw row is gone.
    """
    revertible = await backfill.revertible(conn, [one.event_no for one in known.values()])
    retries: list[int] = []
    dropped: list[int] = []
    changed: dict[int, list[int]] = {}
    for number, one in known.items():
        found = batch.places(number)
        if is_open or one.event_no in revertible or any(batch.digests[place] != one.digest for place in found):
            changed[number] = found
        else:
            # The usual case: nothing has to be read.
            ids.pop(number, None)
            retries += [first_no + place for place in found]
    names = {number: batch.identity(number) for number in changed}
    history = await event_version.read(conn, list(names.values()))
    versions = await _versions(conn, history, [(names[number], known[number]) for number in changed])
    for number, found in changed.items():
        name, one = names[number], known[number]
        if _is_gone(one, versions.get((name[0], one.event_no)), history.get(name, [])):
            ids.pop(number, None)
            for place in found:
                (retries if batch.digests[place] == one.digest else dropped).append(first_no + place)
            continue
        new = _items(batch, found, first_no)
        before = _stored(one, versions, account=name[0], history=history.get(name, []))
        ids[number] = _Id(
            name=name,
            new=new,
            walk=version.walk(sorted([*before, *new], key=lambda item: item.order)),
            known=one,
            stored=versions.get((name[0], one.event_no)),
            before=before,
            has_history=name in history,
            is_open=is_open or one.event_no in revertible,
        )
    return retries, dropped


def _is_gone(known: Known, stored: Version | None, history: Sequence[event_version.Item]) -> bool:
    """Whether what an id contributes cannot be told any more: its row was dropped, and it was not cancelled before."""
    if stored is not None or known.digest == CANCELLATION:
        return False
    return not version.walk(version.items(history, {})).is_cancelled


async def _versions(
    conn: Connection,
    history: Mapping[tuple[int, UUID], Sequence[event_version.Item]],
    ids: Sequence[tuple[tuple[int, UUID], Known]],
) -> dict[tuple[int, int], Version]:
    """Every stored row of these ids, by account and number."""
    wanted = {(name[0], one.event_no) for name, one in ids if one.digest != CANCELLATION}
    wanted |= {(account, one.event_no) for (account, _), items in history.items() for one in items if one.event_no}
    found = await event.versions(conn, wanted) if wanted else []
    return {(one.account, one.event_no): one for one in found}


def _stored(
    known: Known,
    versions: Mapping[tuple[int, int], Version],
    *,
    account: int,
    history: Sequence[event_version.Item],
) -> list[Item]:
    """What was received of an id before."""
    if not history:
        return [version.only(versions[account, known.event_no], digest=known.digest)]
    return version.items(history, {number: row for (_, number), row in versions.items()})


async def _correct(conn: Connection, ids: Mapping[int, _Id]) -> None:
    """Let known keys name what stands now, and stored rows have the state that follows from it."""
    moved: defaultdict[int, list[tuple[UUID, int, int]]] = defaultdict(list)
    states: list[tuple[int, int, str]] = []
    times: list[tuple[int, int, int]] = []
    for one in ids.values():
        standing = one.walk.standing
        if one.known is None or standing is None:
            continue
        if (standing.event_no, standing.digest) != (one.known.event_no, one.known.digest):
            account, key = one.name
            moved[account].append((key, standing.event_no, standing.digest))
        if one.stored is None or one.after is None:
            continue
        if one.after.state != one.stored.state:
            states.append((one.stored.account, one.stored.event_no, one.after.state))
        if one.after.timestamp != one.stored.timestamp:
            times.append((one.stored.account, one.stored.event_no, one.after.timestamp))
    for account, claims in sorted(moved.items()):
        await event_key.correct(conn, Claims.of(account, claims))
    await event.set_states(conn, states)
    await event.set_times(conn, times)


def _history(ids: Mapping[int, _Id]) -> Iterable[tuple[int, UUID, event_version.Item]]:
    """What has to be remembered of ids, lest something older arrives, and for those who ask for an id's versions."""
    for one in ids.values():
        repeats = one.walk.repeats
        if not one.is_open and one.known is None and one.walk.standing and len(repeats) + 1 == len(one.new):
            # Retries within one batch, with nothing between them.
            continue
        account, key = one.name
        for item in one.new if one.has_history else (*one.before, *one.new):
            if item.digest == CANCELLATION:
                yield account, key, event_version.Item(item.order, None, CANCELLATION)
            elif one.is_open or item.event_no not in repeats:
                row = repeats.get(item.event_no, item.event_no)
                untimed_at = None if item.has_own_timestamp else item.timestamp
                yield account, key, event_version.Item(item.order, row, item.digest, untimed_at)


def _settled(ids: Mapping[int, _Id], retries: Iterable[int], dropped: Iterable[int]) -> Settled:
    new = [(one, item) for one in ids.values() for item in one.new]
    cancellations = frozenset(item.event_no for _, item in new if item.digest == CANCELLATION)
    duplicates = frozenset(item.event_no for one, item in new if item.event_no in one.walk.repeats) | {*retries}
    rowless = cancellations | duplicates
    rows = [(one, item.event_no) for one, item in new if item.event_no not in rowless]
    both = [(one.stored, one.after) for one in ids.values() if one.stored is not None and one.after is not None]
    both = [(old, now) for old, now in both if (old.state, old.timestamp) != (now.state, now.timestamp)]
    return Settled(
        duplicates=duplicates,
        dropped=frozenset(dropped),
        cancellations=cancellations,
        states={number: state for one, number in rows if (state := version.state(one.walk, number)) != event.LIVE},
        times=[(now.account, now.event_no, now.timestamp) for old, now in both if old.timestamp != now.timestamp],
        retimed={number: at for one in ids.values() for number, at in one.walk.retimed.items()},
        replaced=tuple(old for old, _ in both if old.state == event.LIVE),
        revived=tuple(now for _, now in both if now.state == event.LIVE),
        corrections=sum(old.state == event.LIVE != now.state for old, now in both),
    )


def _repeated(batch: Batch) -> dict[int, list[int]]:
    """The places of identities that stand in the batch more than once, or are cancelled there."""
    is_repeated = np.diff(batch.starts, append=batch.events) > 1
    cancelled = batch.digests == CANCELLATION
    if cancelled.any():
        is_repeated |= np.logical_or.reduceat(cancelled[batch.sorted_places], batch.starts)
    return {number: batch.places(number) for number in np.flatnonzero(is_repeated).tolist()}


def _fresh(batch: Batch, number: int, places: Sequence[int], *, first_no: int) -> _Id:
    """An id as if nothing were stored of it."""
    new = _items(batch, places, first_no)
    return _Id(name=batch.identity(number), new=new, walk=version.walk(new))


def _items(batch: Batch, places: Iterable[int], first_no: int) -> list[Item]:
    return [
        Item(
            order=one.order,
            digest=one.digest,
            event_no=first_no + one.place,
            is_new=True,
            timestamp=one.timestamp,
            has_own_timestamp=one.has_own_timestamp,
        )
        for one in map(batch.candidate, places)
    ]


def _claims(batch: Batch, ids: Mapping[int, _Id], *, first_no: int) -> Claims:
    """What each identity's key shall name if it is new."""
    places = batch.last_places
    for number, one in ids.items():
        if one.walk.standing is not None:
            places[number] = one.walk.standing.event_no - first_no
    return Claims(batch.columns.accounts[places], batch.columns.keys[places], first_no + places, batch.digests[places])
