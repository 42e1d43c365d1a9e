"""Batches: the schedules of one account that a run bills together, and what all questions about them share."""

from collections.abc import Mapping, Sequence
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from rating.needs import Needs
from store import account, family
from store.db import Connection
from store.due import StoredSchedule


class Batch(msgspec.Struct, frozen=True):
    """`needs` and `members` go by schedule; members are the customers whose usage and seats it bills, its own first."""

    account: int
    schedules: Sequence[StoredSchedule]
    needs: Mapping[UUID, Needs]
    members: Mapping[UUID, tuple[UUID, ...]]
    zone: ZoneInfo


async def batch(
    conn: Connection, number: int, schedules: Sequence[StoredSchedule], *, needs: Mapping[UUID, Needs]
) -> Batch:
    """A batch of these schedules; what rolls up bills everyone below its customer."""
    parents = list({s.customer for s in schedules if s.is_rolled_up and s.members is None})
    below = await family.descendants(conn, number, customers=parents) if parents else {}
    members = {s.id: s.members or (s.customer, *(below[s.customer] if s.is_rolled_up else ())) for s in schedules}
    return Batch(number, schedules, needs, members, ZoneInfo((await account.get(conn, number)).time_zone))
