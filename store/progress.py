"""Progress: how far a schedule is billed, which decides what may still change of it."""

from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID

import msgspec

from rating.period import Period
from store.db import Connection
from store.schedule import BillingSchedule


class Billed(msgspec.Struct, frozen=True):
    """The last date, and the live charges that reach up to a year before it, or beyond."""

    last_date: date | None = None
    periods: tuple[tuple[UUID, Period], ...] = ()


# The last date on which a schedule was billed, by invoice_customer.
_LAST_DATE = """
select max(bill_date) from invoice where account = $1 and customer = $2 and schedule = $3 and reason = 'SCHEDULE'
"""

# Its live charges that end after a day, by invoice_charge_once.
_LIVE_CHARGES = """
select price, service_start, service_end from invoice_charge
where account = $1 and schedule = $2 and service_end > $3 and is_live
order by service_start
"""
# No period is longer.
_YEAR = timedelta(days=367)


# Whether something was billed for one of these, by invoice_charge_once.
_IS_CHARGED = """
select exists (
    select from invoice_charge where account = $1 and schedule = $2 and price = any($3::uuid[]) and is_live)
"""


async def is_charged(conn: Connection, account: int, *, schedule: UUID, of: Sequence[UUID]) -> bool:
    """Whether a live invoice of the schedule has a charge for one of these prices, or credit grants."""
    found: bool = await conn.fetchval(_IS_CHARGED, account, schedule, list(of))
    return found


async def billed(conn: Connection, account: int, *, schedule: BillingSchedule) -> Billed:
    """How far the schedule is billed."""
    last_date = await conn.fetchval(_LAST_DATE, account, schedule.customer, schedule.id)
    if last_date is None:
        return Billed()
    rows = await conn.fetch(_LIVE_CHARGES, account, schedule.id, last_date - _YEAR)
    periods = ((row["price"], Period(row["service_start"], row["service_end"])) for row in rows)
    return Billed(last_date, tuple(periods))
