"""The same id again: a duplicate when the content is the same, a correction when it is not.

    settle(conn, batch, ...) -> Settled      claims the batch's ids and says what becomes of every repeat

Per id the versions are walked in the order of receipt, the stored one first. A version equal to the one that stands
changes nothing; another one takes its place, and the last that stands lives. So it does not matter how versions fall
into batches. Through several streams an older version may arrive after a newer one was counted; it is stored as
superseded.

A correction without a timestamp of the sender's keeps the time of the version it replaces.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import msgspec

from meter.batch import Batch, Candidate, Order
from store import event, event_key
from store.db import Connection
from store.event import Version
from store.event_key import Claims, Known

# The place of the version that was there before the batch.
STORED = -1
_ACCOUNT_BYTES = 4


class Walk(msgspec.Struct, frozen=True):
    """What became of the versions of one id: the place of the one that lives, and when it was last confirmed."""

    live: int
    order: Order
    duplicates: tuple[int, ...]
    superseded: tuple[int, ...]
    retimed: Mapping[int, int]


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch: event numbers of duplicates and of superseded versions, new times by event number, the
    stored versions that were replaced, and places in the order of receipt to remember.
    """

    duplicates: frozenset[int]
    superseded: frozenset[int]
    retimed: Mapping[int, int]
    replaced: tuple[Version, ...]
    confirmed: tuple[tuple[int, int, int, int, int], ...]


def walk(versions: Iterable[Candidate], stored: Candidate | None = None) -> Walk:
    """Walk the versions of one id, which are in their order."""
    live, duplicates, superseded, retimed = stored, [], [], {}
    for one in versions:
        if live is None:
            live = one
        elif one.digest == live.digest:
            duplicates.append(one.place)
            live = msgspec.structs.replace(live, order=max(live.order, one.order))
        elif one.order < live.order:
            superseded.append(one.place)
        elif one.has_own_timestamp:
            superseded.append(live.place)
            live = one
        else:
            superseded.append(live.place)
            retimed[one.place] = live.timestamp
            live = msgspec.structs.replace(one, timestamp=live.timestamp)
    if live is None:
        raise AssertionError("an id without versions")
    return Walk(live.place, live.order, tuple(duplicates), tuple(superseded), retimed)


async def settle(conn: Connection, batch: Batch, *, first_no: int, is_sharded: bool) -> Settled:
    """Claim the batch's ids and let corrections take effect on ids and stored versions.

    `is_sharded`: other streams exist, so it matters when a version that stands was received again.
    """
    walks = {identity: walk(map(batch.candidate, places)) for identity, places in _repeated(batch.identities).items()}
    places = dict(zip(batch.identities, range(batch.events), strict=True))
    places |= {identity: found.live for identity, found in walks.items()}
    identities = sorted(places)
    claims = _claims(batch, identities, places=places, first_no=first_no)
    claimed = await event_key.claim(conn, claims, is_contended=is_sharded)
    known = {identities[one.place]: one for one in claimed}
    versions = await _meet(conn, batch, known, walks=walks, is_sharded=is_sharded)
    corrected = {identity: walks[identity].live for identity in known if walks[identity].live != STORED}
    if corrected:
        numbers = [(_account(identity), known[identity].event_no) for identity in corrected]
        await event_key.correct(conn, _claims(batch, sorted(corrected), places=corrected, first_no=first_no))
        await event.supersede(conn, numbers)
    return Settled(
        duplicates=frozenset(first_no + place for found in walks.values() for place in found.duplicates),
        superseded=frozenset(first_no + place for found in walks.values() for place in found.superseded if place >= 0),
        retimed={first_no + place: at for found in walks.values() for place, at in found.retimed.items()},
        replaced=tuple(versions[identity] for identity in corrected),
        confirmed=tuple(_confirmed(walks, known, first_no)) if is_sharded else (),
    )


async def _meet(
    conn: Connection, batch: Batch, known: Mapping[bytes, Known], *, walks: dict[bytes, Walk], is_sharded: bool
) -> dict[bytes, Version]:
    """Walk known ids again, now from their stored versions on; answers those that had to be read."""
    places: defaultdict[bytes, list[int]] = defaultdict(list)
    for place, identity in enumerate(batch.identities):
        if identity in known:
            places[identity].append(place)
    changed = {
        identity
        for identity, one in known.items()
        if is_sharded or any(batch.digests[place] != one.digest for place in places[identity])
    }
    versions = await _versions(conn, known, changed)
    for identity, repeats in places.items():
        if identity in changed:
            stored = _candidate(versions[identity], known[identity])
            walks[identity] = walk(map(batch.candidate, repeats), stored)
        else:
            # Plain retries, the usual case: nothing has to be read.
            walks[identity] = Walk(STORED, (0, 0, 0), tuple(repeats), (), {})
    return versions


async def _versions(conn: Connection, known: Mapping[bytes, Known], wanted: Collection[bytes]) -> dict[bytes, Version]:
    if not wanted:
        return {}
    found = await event.versions(conn, [(_account(identity), known[identity].event_no) for identity in wanted])
    return {one.account.to_bytes(_ACCOUNT_BYTES, "big") + one.key.bytes: one for one in found}


def _repeated(identities: list[bytes]) -> dict[bytes, list[int]]:
    """The places of identities that stand in the batch more than once."""
    if len(set(identities)) == len(identities):
        return {}
    places: defaultdict[bytes, list[int]] = defaultdict(list)
    for place, identity in enumerate(identities):
        places[identity].append(place)
    return {identity: found for identity, found in places.items() if len(found) > 1}


def _claims(batch: Batch, identities: list[bytes], *, places: Mapping[bytes, int], first_no: int) -> Claims:
    live = [places[identity] for identity in identities]
    return Claims(
        accounts=[_account(identity) for identity in identities],
        keys=b"".join([identity[_ACCOUNT_BYTES:] for identity in identities]),
        numbers=[first_no + place for place in live],
        digests=[batch.digests[place] for place in live],
    )


def _candidate(version: Version, known: Known) -> Candidate:
    return Candidate(
        place=STORED,
        digest=known.digest,
        order=version.order,
        timestamp=version.timestamp,
        has_own_timestamp=True,
    )


def _confirmed(
    walks: Mapping[bytes, Walk], known: Mapping[bytes, Known], first_no: int
) -> Iterable[tuple[int, int, int, int, int]]:
    for identity, found in walks.items():
        event_no = known[identity].event_no if found.live == STORED else first_no + found.live
        if found.duplicates:
            yield _account(identity), event_no, *found.order


def _account(identity: bytes) -> int:
    return int.from_bytes(identity[:_ACCOUNT_BYTES], "big")
