"""What happens to an invoice once it is made: it is finalized, or voided. Its status moves along this table only.

    DRAFT -> FINAL -> VOIDED        FINAL and VOIDED have a number
    DRAFT ----------> VOIDED

Numbers have no gaps: the next one is taken in the transaction that keeps it, and whoever wants another waits for the
row of its prefix. What is final never changes; only its status moves.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from types import MappingProxyType
from uuid import UUID

import msgspec

from store import credit, draw
from store.db import Connection
from store.error import InvoiceNegative, InvoiceStatus, NotFound

# The reference's default; no account has another yet.
NUMBER_PREFIX = "SEQ"

MOVES: Mapping[str, frozenset[str]] = MappingProxyType(
    {"FINAL": frozenset({"DRAFT"}), "VOIDED": frozenset({"DRAFT", "FINAL"})}
)


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice as far as its status depends on it."""

    id: UUID
    customer: UUID
    schedule: UUID | None
    status: str
    reason: str
    bill_date: date
    gross_minor: int


# One invoice by the primary key, its lines by (account, invoice, group_id, index).
_GET = """
select id, customer, schedule, status, reason, bill_date,
    (select coalesce(sum(net_minor + tax_minor), 0)::bigint from invoice_line
        where invoice_line.account = invoice.account and invoice_line.invoice = invoice.id) as gross_minor
from invoice where account = $1 and id = $2
"""

# Holds a schedule still: a billing run that reads its invoices goes first or comes after. By the primary key.
_HOLD_SCHEDULE = "select from billing_schedule where account = $1 and id = $2 for share"

# Locks an invoice until the end of the transaction, by the primary key.
_LOCK = "select status from invoice where account = $1 and id = $2 for update"

# Takes the next number of a prefix and holds it until the transaction ends; by the primary key.
_TAKE_NUMBER = """
insert into invoice_numbering (account, prefix, last) values ($1, $2, 1)
on conflict (account, prefix) do update set last = invoice_numbering.last + 1
returning last
"""

# Moves a status, if it is still one from which this may be done; the number stays if there is one. By the primary key.
_MOVE = """
update invoice set status = $3, number_prefix = coalesce(number_prefix, $5), number = coalesce(number, $6),
    updated_at = $7
where account = $1 and id = $2 and status = any($4::text[])
returning id
"""

# What a voided invoice has billed may be billed again; by the primary key.
_FREE_CHARGES = "update invoice_charge set is_live = false where account = $1 and invoice = $2"


async def get(conn: Connection, account: int, *, invoice: UUID) -> Issue:
    """One invoice."""
    row = await conn.fetchrow(_GET, account, invoice)
    if row is None:
        raise NotFound(f"There is no invoice {invoice}.")
    return Issue(**dict(row))


async def finalize(conn: Connection, account: int, *, invoice: UUID, now: datetime) -> None:
    """Lock a draft and number it. Call inside a transaction."""
    found = await get(conn, account, invoice=invoice)
    # The lines change only together with the row, so the total is looked at once the row is ours.
    await _move(conn, account, found, to="FINAL", now=now)
    if (await get(conn, account, invoice=invoice)).gross_minor < 0:
        raise InvoiceNegative


async def void(conn: Connection, account: int, *, invoice: UUID, new_id: Callable[[], UUID], now: datetime) -> None:
    """Take an invoice back: no payment is expected, and the credit that it used returns. Call inside a transaction."""
    found = await get(conn, account, invoice=invoice)
    if found.schedule is not None:
        await conn.execute(_HOLD_SCHEDULE, account, found.schedule)
    # In the order in which a run takes them: schedule, grants, invoice. So the two wait for each other, never for good.
    await credit.hold(conn, {(account, found.customer)})
    await _move(conn, account, found, to="VOIDED", now=now)
    await conn.execute(_FREE_CHARGES, account, invoice)
    await draw.give_back(conn, account, invoice=invoice, new_id=new_id, now=now)


async def _move(conn: Connection, account: int, found: Issue, *, to: str, now: datetime) -> None:
    status = await conn.fetchval(_LOCK, account, found.id)
    if status not in MOVES[to]:
        raise InvoiceStatus(f"This invoice is {status}. That needs one that is {' or '.join(sorted(MOVES[to]))}.")
    # Only now, and only if it has none: a number that nobody keeps would be a gap.
    number = await conn.fetchval(_TAKE_NUMBER, account, NUMBER_PREFIX) if status == "DRAFT" else None
    prefix = None if number is None else NUMBER_PREFIX
    moved = await conn.fetchval(_MOVE, account, found.id, to, list(MOVES[to]), prefix, number, now)
    assert moved is not None, "the row is locked"  # noqa: S101 our own bug
