"""Where one event went: whose it is, and which prices and invoice lines read the metrics that counted it.

Asked for one event at a time, by a person: a few statements, each by an index of one customer.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from uuid import UUID

import msgspec

from store.db import Connection


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The customer to whom an alias belonged at an instant."""

    customer: UUID
    legal_name: str
    mapping: UUID
    valid_from: datetime | None
    valid_to: datetime | None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an invoice."""

    id: UUID
    title: str
    index: int


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """A price that reads a metric, and the invoice on which it was charged for the event's day; none yet: None."""

    metric: UUID
    price: UUID
    price_name: str
    schedule: UUID
    invoice: UUID | None
    status: str | None
    number: str | None
    calculated_at: datetime | None
    service_start: date | None
    service_end: date | None
    lines: tuple[Line, ...]


# Who owned an alias at an instant of event time; owners of one value never overlap. By customer_alias_start.
_OWNER = """
select mapping.customer, customer.legal_name, mapping.id as mapping, mapping.valid_from, mapping.valid_to
from customer_alias as mapping join customer on customer.account = mapping.account and customer.id = mapping.customer
where mapping.account = $1 and mapping.value = $2
    and (mapping.valid_from is null or mapping.valid_from <= $3)
    and (mapping.valid_to is null or $3 < mapping.valid_to)
"""


async def owner(conn: Connection, account: int, *, alias: str, at: datetime) -> Owner | None:
    """Whose the alias was at that instant."""
    row = await conn.fetchrow(_OWNER, account, alias, at)
    return Owner(**dict(row)) if row else None


# The names of metrics, by the primary key.
_NAMES = "select id, name from usage_metric where account = $1 and id = any($2::uuid[])"


async def metric_names(conn: Connection, account: int, metrics: Collection[UUID]) -> dict[UUID, str]:
    """What people call these metrics."""
    return {row["id"]: row["name"] for row in await conn.fetch(_NAMES, account, list(metrics))}


# Prices of the customer's running phases on that day that read one of the metrics, with what was charged for that day.
# By billing_schedule_customer and invoice_charge_once.
_REACHED = """
select (price.structure ->> 'usageMetricId')::uuid as metric, price.id as price, price.name as price_name,
    schedule.id as schedule, invoice.id as invoice, invoice.status, invoice.number_prefix || invoice.number as number,
    invoice.calculated_at, charge.service_start, charge.service_end
from billing_schedule as schedule
join billing_phase as phase on phase.account = schedule.account and phase.schedule = schedule.id
join price on price.account = schedule.account and price.id = any(phase.price_ids)
left join invoice_charge as charge on charge.account = schedule.account and charge.schedule = schedule.id
    and charge.price = price.id and charge.is_live and charge.service_start <= $3 and $3 < charge.service_end
left join invoice on invoice.account = charge.account and invoice.id = charge.invoice
where schedule.account = $1 and schedule.customer = $2 and not schedule.is_draft
    and phase.start_date <= $3 and (phase.end_date is null or $3 <= phase.end_date)
    and price.structure ->> 'usageMetricId' = any($4::text[])
order by schedule.id, price.id
"""

# The lines of such a charge, by the unique (account, invoice, group, index).
_LINES = """
select invoice, price, service_start, service_end, id, title, index from invoice_line
where account = $1 and invoice = any($2::uuid[]) order by invoice, index
"""


async def reached(
    conn: Connection, account: int, *, customer: UUID, day: date, metrics: Sequence[UUID]
) -> list[Reached]:
    """The prices that bill these metrics on that day, and the invoice lines that came of it."""
    rows = await conn.fetch(_REACHED, account, customer, day, [str(metric) for metric in metrics])
    invoices = [row["invoice"] for row in rows if row["invoice"] is not None]
    lines = await conn.fetch(_LINES, account, invoices) if invoices else []
    return [
        Reached(
            **dict(row),
            lines=tuple(
                Line(id=line["id"], title=line["title"], index=line["index"])
                for line in lines
                if all(line[name] == row[name] for name in ("invoice", "price", "service_start", "service_end"))
            ),
        )
        for row in rows
    ]
