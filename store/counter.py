"""Counters: what each metric has counted, by quarter hour and by day, and the distinct values of UNIQUE metrics.

    cell     (account, metric, alias, slot, group) -> [events, total]   total: None where nothing is summed
    member   (account, metric, alias, slot, group, value) -> events

`merge` adds differences, which are negative where a correction takes something back. Statements touch their rows in
the order of their primary keys, slots before days before members before what does not add up (store/span.py), so that
two aggregators cannot deadlock. A row whose events have all been taken back is gone: the counters are at any time what
a fresh count would make them.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, TypeAlias

from rating.span import Point
from store import cell, span, usage_group
from store.counting import Counting
from store.db import Connection
from store.tally import Tally

Member: TypeAlias = tuple[int, int, int, int, Any, str]
Members: TypeAlias = Mapping[Member, int]


class Deltas:
    """Differences that wait to be merged. Tallies, by account and metric, are of what adds up. Points are what does
    not: those that came, those that were taken.
    """

    def __init__(self) -> None:
        self.tallies: defaultdict[tuple[int, int], Tally] = defaultdict(Tally)
        self._cells: dict[cell.Key, list[Any]] = {}
        self.members: dict[Member, int] = {}
        self.points: dict[cell.Key, tuple[list[Point], list[Point]]] = {}
        self.groups: set[tuple[int, str]] = set()

    def cells(self) -> dict[cell.Key, list[Any]]:
        """What the tallies come to; what was added up before costs nothing again."""
        for of, tally in self.tallies.items():
            for place, events, total in tally.cells():
                key = (*of, *place)
                if key in self._cells:
                    before = self._cells[key]
                    self._cells[key] = [before[0] + events, cell.add(before[1], total)]
                else:
                    self._cells[key] = [events, total]
        self.tallies.clear()
        return self._cells


# An index row has room for about 2,700 bytes. Longer values are known by their hash, and so is whatever looks like one.
_VALUE_BYTES_MAX = 512
_HASHED = "sha256:"

# Of a member: where it stands in the primary key of usage_unique.
_rank = itemgetter(2, 1, 3, 4, 5, 0)

# Adds to distinct values, by the primary key; only the column outside of it changes, so updates stay on their page.
_MERGE_MEMBERS = """
insert into usage_unique (account, metric, alias, slot, group_no, value, events)
select * from unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::text[],
    $7::bigint[])
on conflict (alias, metric, slot, group_no, value, account) do update
set events = usage_unique.events + excluded.events
"""

# After something was taken back: what stands for no event any more, by the primary key.
_DROP_MEMBERS = """
delete from usage_unique
using unnest($1::integer[], $2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::text[])
    as old (account, metric, alias, slot, group_no, value)
where (usage_unique.account, usage_unique.metric, usage_unique.alias, usage_unique.slot, usage_unique.group_no,
        usage_unique.value)
    = (old.account, old.metric, old.alias, old.slot, old.group_no, old.value) and events = 0
"""


async def merge(
    conn: Connection,
    deltas: Deltas,
    *,
    counting: Mapping[int, Counting],
    is_contended: bool = False,
) -> None:
    """Add these differences to the stored counters. `counting` has every account in them; `is_contended`: others are
    counting the same aliases right now.
    """
    zones = {account: one.zone for account, one in counting.items()}
    cells, members, points = deltas.cells(), deltas.members, deltas.points
    groups = await usage_group.intern(conn, deltas.groups)
    if groups:
        cells, members, points = _numbered(cells, groups), _numbered(members, groups), _numbered(points, groups)
    await cell.merge(conn, cells, zones=zones, is_contended=is_contended)
    await _merge_members(conn, members)
    if points:
        metrics = {metric.number: metric for one in counting.values() for metric in one.metrics}
        await span.merge(conn, points, metrics=metrics, zones=zones, groups=groups)


def _numbered(by_key: Mapping[Any, Any], groups: Mapping[tuple[int, str], int]) -> dict[Any, Any]:
    """The same with numbers instead of the texts of groups."""
    return {
        (*key[:4], groups[key[0], key[4]], *key[5:]) if isinstance(key[4], str) else key: value
        for key, value in by_key.items()
    }


def member_value(text: str) -> str:
    """How a distinct value is kept: as it is, or by its hash if it is too long for an index."""
    encoded = text.encode()
    if len(encoded) <= _VALUE_BYTES_MAX and not text.startswith(_HASHED):
        return text
    return _HASHED + hashlib.sha256(encoded).hexdigest()


async def _merge_members(conn: Connection, members: Members) -> None:
    changed = sorted([key for key, events in members.items() if events], key=_rank)
    if not changed:
        return
    await conn.execute(_MERGE_MEMBERS, *zip(*changed, strict=True), [members[key] for key in changed])
    if taken := [key for key in changed if members[key] < 0]:
        await conn.execute(_DROP_MEMBERS, *zip(*taken, strict=True))
