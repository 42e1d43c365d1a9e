"""Seat balances: how many seats of each type a customer has at an instant.

The rules are those of store/seat.py: the sum over the customer's aliases, each in its time. Only types that have a
metric are balances; the totals of other types wait until theirs is made.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from store.db import Connection
from store.page import Listing, Page, both_ways


class Balance(msgspec.Struct, frozen=True, rename="camel"):
    """Seats of one type, and since when there are so many."""

    seat_type: str
    total: int
    change_timestamp: datetime


class CustomerBalances(msgspec.Struct, frozen=True, kw_only=True):
    """All seats of one customer; `id` is the customer's. `aliases` are those that it has now."""

    id: UUID
    legal_name: str
    aliases: tuple[str, ...]
    balances: tuple[Balance, ...]

    @property
    def total(self) -> int:
        """Seats of all types."""
        return sum(balance.total for balance in self.balances)

    @property
    def change_timestamp(self) -> datetime:
        """When any of them changed last."""
        return max(balance.change_timestamp for balance in self.balances)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which balances a list shows, and at which instant; None means any customer."""

    at: datetime
    excludes_zero: bool = False
    aliases: tuple[str, ...] | None = None
    customers: tuple[UUID, ...] | None = None


# For each alias of a customer and each type the total that stands, or zero since the alias is the customer's no more;
# then their sum by type. By customer_alias_customer and seat_event_alias.
_BALANCES = """
customer cross join lateral (
    select jsonb_agg(jsonb_build_object('seatType', seat_type, 'total', total, 'changeTimestamp', changed_at)
        order by seat_type) as balances
    from (
        select standing.seat_type, sum(case when valid_to <= $2 then 0 else standing.total end) as total,
            max(case when valid_to <= $2 then valid_to else greatest(event_timestamp, valid_from) end) as changed_at
        from customer_alias as owner, lateral (
            select distinct on (seat_type) seat_type, total, event_timestamp from seat_event
            where account = $1 and alias = owner.value and superseded_at is null and event_timestamp <= $2
                and (owner.valid_to is null or event_timestamp < owner.valid_to)
            order by seat_type, event_timestamp desc, event_no desc
        ) as standing
        join seat_metric as metric
            on metric.account = $1 and metric.seat_type = standing.seat_type and metric.deleted_at is null
        where owner.account = $1 and owner.customer = customer.id and (valid_from is null or valid_from <= $2)
        group by standing.seat_type
    ) as by_type
    where not $3 or total <> 0
) as found
where customer.account = $1 and found.balances is not null and ($4::uuid[] is null or customer.id = any($4))
    and ($5::text[] is null or exists (
        select from customer_alias as named
        where named.account = $1 and named.customer = customer.id and named.value = any($5) and named.valid_to is null))
"""

# Customers that have or had seats, newest or oldest first, by the primary key of customer.
# ruff: noqa: S608 - built from constants
_LIST = both_ways(f"""
select customer.id, customer.legal_name, found.balances, array(
    select value from customer_alias as mine
    where mine.account = $1 and mine.customer = customer.id and mine.valid_to is null and mine.id <> mine.customer
    order by mine.id) as aliases
from {_BALANCES} and ($6::uuid is null or customer.id > $6) and ($7::uuid is null or customer.id < $7)
order by customer.id <direction> limit $8
""")

# How many customers the same filters leave.
_COUNT = f"select count(*) from {_BALANCES}"


async def listing(conn: Connection, account: int, *, where: Filter, page: Page) -> Listing[CustomerBalances]:
    """One page of customers with their balances."""
    wanted: tuple[Any, ...] = (account, where.at, where.excludes_zero, where.customers, where.aliases)
    rows = await conn.fetch(_LIST[page.reads_down], *wanted, page.above, page.below, page.fetch_limit)
    return page.cut([_balances(row) for row in rows], total=await conn.fetchval(_COUNT, *wanted))


_DECODER = msgspec.json.Decoder(tuple[Balance, ...])


def _balances(row: asyncpg.Record) -> CustomerBalances:
    return CustomerBalances(
        id=row["id"],
        legal_name=row["legal_name"],
        aliases=tuple(row["aliases"]),
        balances=_DECODER.decode(row["balances"]),
    )
