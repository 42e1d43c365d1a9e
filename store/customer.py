"""Customers: who is billed, and under which names their usage arrives.

    customer -> address and contacts as JSON in the reference's field names, custom properties as a flat map
    customer -> aliases (store/alias.py keeps them), each for a span of event time

Invoices need two things of many customers at once: `aliases_of` to attribute usage, `snapshots` to print.
"""

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from store.db import Connection
from store.error import NotFound
from store.page import Listing, Page, both_ways


class TaxStatus(StrEnum):
    """How tax is treated on a customer's invoices."""

    TAXED = "TAXED"
    TAX_EXEMPT = "TAX_EXEMPT"
    REVERSE_CHARGED = "REVERSE_CHARGED"


class CustomerStatus(StrEnum):
    """A draft cannot be billed until it is approved."""

    ACTIVE = "ACTIVE"
    DRAFT = "DRAFT"


class BillingPreference(StrEnum):
    """Whether a contact gets billing mail; the primary one is addressed."""

    PRIMARY = "PRIMARY"
    STANDARD = "STANDARD"
    NONE = "NONE"


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A postal address in the reference's field names; kept and sent as it is."""

    line1: str
    town: str
    postcode: str
    country: str
    line2: str | None = None
    state: str | None = None


class Contact(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A person at a customer."""

    id: UUID
    name: str
    email: str
    billing_preference: BillingPreference
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """The business being billed."""

    id: UUID
    legal_name: str
    label: str | None
    url: str | None
    tax_status: TaxStatus
    status: CustomerStatus
    address: Address
    contacts: tuple[Contact, ...]
    custom_properties: dict[str, str]
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None
    parent: UUID | None = None


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which customers a list shows; None means any. Texts are found anywhere in a field, in any case; aliases whole."""

    legal_name: str | None = None
    email: str | None = None
    label: str | None = None
    alias: str | None = None
    include_archived: bool = False
    # True: has a billing schedule that runs on `today`.
    is_billed: bool | None = None
    today: date


class AliasSpan(msgspec.Struct, frozen=True):
    """An alias while it belongs to a customer, in event time: half-open, None is open."""

    value: str
    valid_from: datetime | None
    valid_to: datetime | None


class Snapshot(msgspec.Struct, frozen=True):
    """A customer as an invoice remembers it."""

    legal_name: str
    address: Address
    emails: tuple[str, ...]
    tax_status: TaxStatus


# Makes a customer together with the alias that is its own id, so that attribution is one join.
_INSERT = """
with made as (
    insert into customer (account, id, legal_name, label, url, tax_status, status, address, contacts, custom_properties,
        parent, created_at, updated_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    returning account, id, created_at
)
insert into customer_alias (account, id, customer, value, created_at)
select account, id, id, id::text, created_at from made
"""


async def create(conn: Connection, account: int, *, customer: Customer) -> None:
    """Keep a new customer."""
    await conn.execute(_INSERT, account, *_values(customer), customer.created_at, customer.updated_at)


# One customer, by the primary key.
_GET = """
select id, legal_name, label, url, tax_status, status, address, contacts, custom_properties, created_at, updated_at,
    archived_at, parent
from customer where account = $1 and id = $2
"""

# The same, held until the end of the transaction, so that two changes at once do not lose one of them. Not the stronger
# `for update`: that would stop a child which names this customer as its parent, and two at once would deadlock.
_GET_FOR_UPDATE = f"{_GET} for no key update"


async def get(
    conn: Connection, account: int, *, customer: UUID, for_update: bool = False, key: str | None = None
) -> Customer:
    """One customer, archived or not; `key` names the field of the request that the id came from."""
    row = await conn.fetchrow(_GET_FOR_UPDATE if for_update else _GET, account, customer)
    if row is None:
        raise NotFound(f"There is no customer {customer}.", key=key)
    return _customer(row)


# Who has this alias now; serves GET by alias through customer_alias_open.
_BY_ALIAS = "select customer from customer_alias where account = $1 and value = $2 and valid_to is null"


async def by_alias(conn: Connection, account: int, *, alias: str) -> Customer:
    """The customer to whom an alias belongs now."""
    owner = await conn.fetchval(_BY_ALIAS, account, alias)
    if owner is None:
        raise NotFound(f"No customer has the alias `{alias}` now.")
    return await get(conn, account, customer=owner)


# Changes everything a customer's owner may change, by the primary key.
_UPDATE = """
update customer set legal_name = $3, label = $4, url = $5, tax_status = $6, status = $7, address = $8, contacts = $9,
    custom_properties = $10, parent = $11, updated_at = $12, archived_at = $13
where account = $1 and id = $2
"""


async def update(conn: Connection, account: int, *, customer: Customer) -> None:
    """Keep a customer's new state; the caller has read it for update."""
    await conn.execute(_UPDATE, account, *_values(customer), customer.updated_at, customer.archived_at)


# Lists customers, newest or oldest first, by the primary key; the filters are checked row by row.
_LIST = both_ways("""
select id, legal_name, label, url, tax_status, status, address, contacts, custom_properties, created_at, updated_at,
    archived_at, parent
from customer
where account = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or id < $3)
    and ($5::text is null or position(lower($5) in lower(legal_name)) > 0)
    and ($6::text is null or exists (
        select from jsonb_array_elements(contacts) as contact
        where position(lower($6) in lower(contact ->> 'email')) > 0))
    and ($7::text is null or position(lower($7) in lower(label)) > 0)
    and ($8::text is null or id in (
        select customer from customer_alias where account = $1 and value = $8 and valid_to is null))
    and ($9 or archived_at is null)
    and ($10::boolean is null or $10 = exists (
        select from billing_schedule as schedule
        where schedule.account = $1 and schedule.customer = customer.id
            and not is_draft and schedule.archived_at is null
            and start_date <= $11 and (end_date is null or end_date >= $11)))
order by id <direction> limit $4
""")

# How many customers the same filters leave.
_COUNT = """
select count(*)
from customer
where account = $1
    and ($2::text is null or position(lower($2) in lower(legal_name)) > 0)
    and ($3::text is null or exists (
        select from jsonb_array_elements(contacts) as contact
        where position(lower($3) in lower(contact ->> 'email')) > 0))
    and ($4::text is null or position(lower($4) in lower(label)) > 0)
    and ($5::text is null or id in (
        select customer from customer_alias where account = $1 and value = $5 and valid_to is null))
    and ($6 or archived_at is null)
    and ($7::boolean is null or $7 = exists (
        select from billing_schedule as schedule
        where schedule.account = $1 and schedule.customer = customer.id
            and not is_draft and schedule.archived_at is null
            and start_date <= $8 and (end_date is null or end_date >= $8)))
"""


async def listing(conn: Connection, account: int, *, where: Filter, page: Page) -> Listing[Customer]:
    """One page of customers."""
    wanted = (
        *(where.legal_name, where.email, where.label, where.alias),
        *(where.include_archived, where.is_billed, where.today),
    )
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, page.fetch_limit, *wanted)
    total = await conn.fetchval(_COUNT, account, *wanted)
    return page.cut([_customer(row) for row in rows], total=total)


# All aliases that these customers ever had, each with its span; by customer_alias_customer. Serves billing.
_ALIASES_OF = """
select customer, value, valid_from, valid_to from customer_alias where account = $1 and customer = any($2::uuid[])
order by customer, value, valid_from nulls first
"""


async def aliases_of(conn: Connection, *, account: int, customers: Sequence[UUID]) -> dict[UUID, tuple[AliasSpan, ...]]:
    """Under which names, and when, usage belongs to each customer; the customer's own id is one of them."""
    spans: dict[UUID, list[AliasSpan]] = {customer: [] for customer in customers}
    for row in await conn.fetch(_ALIASES_OF, account, list(customers)):
        spans[row["customer"]].append(AliasSpan(row["value"], row["valid_from"], row["valid_to"]))
    return {customer: tuple(found) for customer, found in spans.items()}


# What invoices print of these customers, of any accounts, by the primary key. Serves billing.
_SNAPSHOTS = """
select account, id, legal_name, address, contacts, tax_status
from unnest($1::integer[], $2::uuid[]) as wanted (account, id) join customer using (account, id)
"""


async def snapshots(conn: Connection, customers: Sequence[tuple[int, UUID]]) -> dict[tuple[int, UUID], Snapshot]:
    """How each (account, customer) would stand on an invoice made now."""
    accounts, ids = [account for account, _ in customers], [customer for _, customer in customers]
    rows = await conn.fetch(_SNAPSHOTS, accounts, ids)
    return {(row["account"], row["id"]): _snapshot(row) for row in rows}


def billing_emails(contacts: Sequence[Contact]) -> tuple[str, ...]:
    """Who gets billing mail: the primary contact first."""
    chosen = [c for c in contacts if c.billing_preference is not BillingPreference.NONE and c.archived_at is None]
    return tuple(c.email for c in sorted(chosen, key=lambda c: c.billing_preference is not BillingPreference.PRIMARY))


def _values(customer: Customer) -> tuple[Any, ...]:
    return (
        *(customer.id, customer.legal_name, customer.label, customer.url, customer.tax_status, customer.status),
        *(_json(customer.address), _json(customer.contacts), _json(customer.custom_properties)),
        customer.parent,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _customer(row: asyncpg.Record) -> Customer:
    fields = dict(row)
    decoded = {
        "tax_status": TaxStatus(fields["tax_status"]),
        "status": CustomerStatus(fields["status"]),
        "address": msgspec.json.decode(fields["address"], type=Address),
        "contacts": msgspec.json.decode(fields["contacts"], type=tuple[Contact, ...]),
        "custom_properties": msgspec.json.decode(fields["custom_properties"], type=dict[str, str]),
    }
    return Customer(**fields | decoded)


def _snapshot(row: asyncpg.Record) -> Snapshot:
    contacts = msgspec.json.decode(row["contacts"], type=tuple[Contact, ...])
    return Snapshot(
        legal_name=row["legal_name"],
        address=msgspec.json.decode(row["address"], type=Address),
        emails=billing_emails(contacts),
        tax_status=TaxStatus(row["tax_status"]),
    )
