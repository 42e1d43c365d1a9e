"""Phases of billing schedules: how they are kept.

    billing_phase -> price_ids, dates, recurrence
    billing_phase.terms -> discounts, minimums, credit grants, plan minimum, milestone: rating's own nouns as JSON

The phase's dates are inclusive, as in the API; the dates inside the terms are rating's half-open ones.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from rating import phase as rating
from rating.number import to_json
from rating.phase import Milestone, RecurrencePreference
from rating.price import Price
from rating.terms import Discount, GrantTerms, Minimum
from store.db import Connection

_DAY = timedelta(days=1)


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a phase says beside prices and dates."""

    discounts: tuple[Discount, ...] = ()
    minimums: tuple[Minimum, ...] = ()
    grants: tuple[GrantTerms, ...] = ()
    plan_minimum: Decimal | None = None
    milestone: Milestone | None = None


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a schedule with its prices; dates inclusive, without an end it goes on."""

    id: UUID
    name: str | None
    start_date: date
    end_date: date | None
    prices: tuple[UUID, ...]
    created_at: datetime
    recurrence: RecurrencePreference = RecurrencePreference.CONTINUE_FROM_PREVIOUS_PHASE
    terms: Terms = Terms()


def rated(phase: Phase, prices: Mapping[UUID, Price]) -> rating.Phase:
    """The phase as rating reads it."""
    return rating.Phase(
        start=phase.start_date,
        end=None if phase.end_date is None else phase.end_date + _DAY,
        prices=tuple(prices[price] for price in phase.prices),
        discounts=phase.terms.discounts,
        minimums=phase.terms.minimums,
        grants=phase.terms.grants,
        recurrence=phase.recurrence,
        plan_minimum=phase.terms.plan_minimum,
        milestone=phase.terms.milestone,
    )


# Makes a phase or changes it; a phase keeps its id as long as its place. By the unique key on place.
_PUT = """
insert into billing_phase (account, id, schedule, position, name, start_date, end_date, price_ids, recurrence, terms,
    created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
on conflict (account, schedule, position) do update set name = excluded.name, start_date = excluded.start_date,
    end_date = excluded.end_date, price_ids = excluded.price_ids, recurrence = excluded.recurrence,
    terms = excluded.terms
"""

# Takes away the phases behind the last one, by the unique key on place.
_CUT = "delete from billing_phase where account = $1 and schedule = $2 and position >= $3"


async def put(conn: Connection, account: int, *, schedule: UUID, phases: Sequence[Phase]) -> None:
    """Keep these phases of a schedule and no others."""
    rows = [
        (
            *(account, p.id, schedule, place, p.name, p.start_date, p.end_date, list(p.prices)),
            *(p.recurrence, to_json(p.terms).decode(), p.created_at),
        )
        for place, p in enumerate(phases)
    ]
    await conn.executemany(_PUT, rows)
    await conn.execute(_CUT, account, schedule, len(rows))


# The phases of schedules of any accounts, by the unique key on their place.
_LOAD = """
select account, id, schedule, name, start_date, end_date, price_ids, recurrence, terms, created_at
from unnest($1::integer[], $2::uuid[]) as wanted (account, schedule) join billing_phase using (account, schedule)
order by account, schedule, position
"""


async def load(conn: Connection, schedules: Sequence[tuple[int, UUID]]) -> dict[tuple[int, UUID], tuple[Phase, ...]]:
    """The phases of each (account, schedule), in order."""
    accounts, ids = [account for account, _ in schedules], [schedule for _, schedule in schedules]
    found: dict[tuple[int, UUID], list[Phase]] = {key: [] for key in schedules}
    for row in await conn.fetch(_LOAD, accounts, ids):
        found[row["account"], row["schedule"]].append(_phase(row))
    return {key: tuple(phases) for key, phases in found.items()}


def _phase(row: asyncpg.Record) -> Phase:
    return Phase(
        id=row["id"],
        name=row["name"],
        start_date=row["start_date"],
        end_date=row["end_date"],
        prices=tuple(row["price_ids"]),
        created_at=row["created_at"],
        recurrence=RecurrencePreference(row["recurrence"]),
        terms=_terms(row["terms"]),
    )


def _terms(text: str) -> Terms:
    # Most phases say nothing, and a run reads thousands.
    return _NOTHING if text == "{}" else _DECODER.decode(text)


_NOTHING = Terms()
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Terms)
