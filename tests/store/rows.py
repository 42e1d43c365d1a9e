"""Rows that are there when a test begins: customers with aliases, prices of products, billing schedules that run."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from uuid_utils.compat import uuid7

from rating.period import Frequency
from rating.price import BillingType, Price, Structure
from store import alias, customer, price, product, schedule
from store.account import Principal
from store.alias import NewAlias
from store.customer import Address, BillingPreference, Contact, Customer, CustomerStatus, TaxStatus
from store.db import Connection
from store.phase import Phase
from store.price import PriceStatus, StoredPrice
from store.product import Product
from store.schedule import BillingSchedule
from tests.build import day, fixed

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)


def contact(email: str, preference: BillingPreference, *, archived_at: datetime | None = None) -> Contact:
    return Contact(
        id=uuid7(),
        name="Ann",
        email=email,
        billing_preference=preference,
        created_at=NOW,
        updated_at=NOW,
        archived_at=archived_at,
    )


async def kept_customer(conn: Connection, account: Principal, *aliases: str, **changes: Any) -> Customer:
    made = Customer(
        id=uuid7(),
        legal_name="Acme Ltd",
        label=None,
        url=None,
        tax_status=TaxStatus.TAXED,
        status=CustomerStatus.ACTIVE,
        address=Address(line1="1", town="London", postcode="N1", country="GB"),
        contacts=(contact("ann@acme.test", BillingPreference.PRIMARY),),
        custom_properties={"tier": "gold"},
        created_at=NOW,
        updated_at=NOW,
    )
    made = msgspec.structs.replace(made, **changes)
    await customer.create(conn, account.account, customer=made)
    await mapped(conn, account, made, *aliases)
    return made


async def mapped(conn: Connection, account: Principal, to: Customer, *values: str, now: datetime = NOW) -> list[UUID]:
    """The mappings of these aliases to a customer."""
    new = [NewAlias(uuid7(), value) for value in values]
    return [made.id for made in await alias.create(conn, account.account, customer=to.id, aliases=new, now=now)]


async def kept_price(conn: Connection, account: Principal, structure: Structure | None = None) -> StoredPrice:
    owner = Product(id=uuid7(), name="Platform", label=None, created_at=NOW, updated_at=NOW)
    await product.create(conn, account.account, product=owner)
    made = priced(owner.id, structure or fixed("10.00"))
    async with conn.transaction():
        await price.create(conn, account.account, price=made)
    return made


def priced(product_id: UUID, structure: Structure) -> StoredPrice:
    """A price that is not kept yet."""
    id_ = uuid7()
    terms = Price(
        id=str(id_),
        product_id=str(product_id),
        name="Fee",
        currency="EUR",
        structure=structure,
        billing_frequency=Frequency.MONTHLY,
        billing_type=BillingType.IN_ARREARS,
    )
    return StoredPrice(
        id=id_,
        terms=terms,
        structure=price.structure_json(structure),
        status=PriceStatus.ACTIVE,
        created_at=NOW,
        updated_at=NOW,
    )


async def kept_schedule(
    conn: Connection, account: Principal, *, start: str = "2025-01-01", end: str | None = None, **changes: Any
) -> tuple[BillingSchedule, StoredPrice]:
    """A running schedule, due on its first day, and its price."""
    who, fee = await kept_customer(conn, account), await kept_price(conn, account)
    first, last = day(start), day(end) if end else None
    phase = Phase(id=uuid7(), name="P", start_date=first, end_date=last, prices=(fee.id,), created_at=NOW)
    made = BillingSchedule(
        id=uuid7(),
        customer=who.id,
        is_draft=False,
        start_date=first,
        end_date=last,
        recurrence_day=None,
        auto_issue=False,
        particulars={"label": "L"},
        phases=(phase,),
        created_at=NOW,
        updated_at=NOW,
    )
    made = schedule.due_on(msgspec.structs.replace(made, **changes), first, zone=ZoneInfo("UTC"))
    async with conn.transaction():
        await schedule.create(conn, account.account, schedule=made)
    return made, fee
