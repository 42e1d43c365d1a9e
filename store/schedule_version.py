"""Versions of a schedule's terms: what was agreed before a change, so that late usage is rated with it.

A change of the terms keeps those it replaces here and raises `billing_schedule.version`; the current ones are in
billing_schedule and billing_phase (store/schedule.py, store/phase.py).
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from rating import schedule as rating
from rating.number import to_json
from rating.price import Price
from store import phase
from store.db import Connection
from store.phase import Phase
from store.schedule import BillingSchedule

_DAY = timedelta(days=1)
_PHASES = msgspec.json.Decoder(tuple[Phase, ...])


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What the terms of a schedule were; dates inclusive."""

    schedule: UUID
    start_date: date
    end_date: date | None
    recurrence_day: int | None
    is_rolled_up: bool
    phases: tuple[Phase, ...]

    def terms(self, prices: Mapping[UUID, Price]) -> rating.Schedule:
        """As rating reads them."""
        end = None if self.end_date is None else self.end_date + _DAY
        phases = tuple(phase.rated(one, prices) for one in self.phases)
        return rating.Schedule(
            str(self.schedule), self.start_date, end, self.recurrence_day or self.start_date.day, phases
        )


# Keeps the terms that are replaced and counts the new ones; by the primary keys.
_KEEP = """
with kept as (
    insert into billing_schedule_version (account, schedule, version, start_date, end_date, recurrence_day,
        is_rolled_up, price_ids, phases, replaced_at)
    select account, id, version, $3, $4, $5, $6, $7, $8, $9 from billing_schedule where account = $1 and id = $2
    returning account, schedule
)
update billing_schedule set version = version + 1 from kept
where billing_schedule.account = kept.account and billing_schedule.id = kept.schedule
"""


def is_other(before: BillingSchedule, after: BillingSchedule) -> bool:
    """Whether the terms differ, as far as bills depend on them."""
    return _version(before) != _version(after)


async def keep(conn: Connection, account: int, *, before: BillingSchedule, now: datetime) -> None:
    """Keep the terms of a running schedule before they change; the caller has read it for update."""
    prices = list({price for part in before.phases for price in part.prices})
    await conn.execute(
        *(_KEEP, account, before.id, before.start_date, before.end_date, before.recurrence_day, before.is_rolled_up),
        *(prices, to_json(before.phases).decode(), now),
    )


# Earlier terms of schedules of any accounts, by the primary key.
_LOAD = """
select account, schedule, version, start_date, end_date, recurrence_day, is_rolled_up, phases
from unnest($1::integer[], $2::uuid[], $3::integer[]) as wanted (account, schedule, version)
join billing_schedule_version using (account, schedule, version)
"""


async def load(conn: Connection, versions: Sequence[tuple[int, UUID, int]]) -> dict[tuple[int, UUID, int], Version]:
    """These (account, schedule, version)s, as far as they are earlier ones."""
    columns = [list(column) for column in zip(*versions, strict=True)] or [[], [], []]
    rows = await conn.fetch(_LOAD, *columns)
    return {(row["account"], row["schedule"], row["version"]): _stored(row) for row in rows}


def _stored(row: asyncpg.Record) -> Version:
    return Version(
        schedule=row["schedule"],
        start_date=row["start_date"],
        end_date=row["end_date"],
        recurrence_day=row["recurrence_day"],
        is_rolled_up=row["is_rolled_up"],
        phases=_PHASES.decode(row["phases"]),
    )


def _version(of: BillingSchedule) -> Version:
    return Version(
        schedule=of.id,
        start_date=of.start_date,
        end_date=of.end_date,
        recurrence_day=of.recurrence_day,
        is_rolled_up=of.is_rolled_up,
        phases=of.phases,
    )
