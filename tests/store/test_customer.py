"""What billing asks of customers: under which names usage is theirs and when, and how they stand on an invoice."""

from datetime import UTC, date, datetime, timedelta

import pytest
from uuid_utils.compat import uuid7

from store import alias, customer
from store.account import Principal
from store.customer import AliasSpan, BillingPreference, Filter, TaxStatus
from store.db import Connection
from store.error import NotFound
from store.page import Page
from tests.store.rows import contact, kept_customer, mapped

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


async def test_a_customer_comes_back_as_it_was_kept(conn: Connection, account: Principal) -> None:
    made = await kept_customer(conn, account)

    assert await customer.get(conn, account.account, customer=made.id) == made


async def test_a_customer_of_another_account_does_not_exist(conn: Connection, account: Principal) -> None:
    made = await kept_customer(conn, account)

    with pytest.raises(NotFound):
        await customer.get(conn, account.account + 1, customer=made.id)


async def test_the_first_owner_has_an_alias_from_the_beginning(conn: Connection, account: Principal) -> None:
    made = await kept_customer(conn, account, "acme")

    found = await customer.aliases_of(conn, account=account.account, customers=[made.id])

    assert set(found[made.id]) == {AliasSpan("acme", None, None), AliasSpan(str(made.id), None, None)}


async def test_the_next_owner_starts_where_the_last_one_ended(conn: Connection, account: Principal) -> None:
    first, second = await kept_customer(conn, account), await kept_customer(conn, account)
    [mapping] = await mapped(conn, account, first, "acme")
    await alias.end(conn, account.account, alias=mapping, now=NOW)

    await mapped(conn, account, second, "acme", now=LATER)

    found = await customer.aliases_of(conn, account=account.account, customers=[first.id, second.id])
    assert AliasSpan("acme", None, NOW) in found[first.id]
    assert AliasSpan("acme", NOW, None) in found[second.id]


async def test_many_customers_are_asked_for_at_once(conn: Connection, account: Principal) -> None:
    both = [await kept_customer(conn, account, name) for name in ("a", "b")]
    nobody = uuid7()

    found = await customer.aliases_of(conn, account=account.account, customers=[*(one.id for one in both), nobody])

    assert {len(found[one.id]) for one in both} == {2}
    assert found[nobody] == ()


async def test_a_snapshot_is_the_customer_as_an_invoice_remembers_it(conn: Connection, account: Principal) -> None:
    contacts = (
        contact("standard@acme.test", BillingPreference.STANDARD),
        contact("none@acme.test", BillingPreference.NONE),
        contact("gone@acme.test", BillingPreference.STANDARD, archived_at=NOW),
        contact("primary@acme.test", BillingPreference.PRIMARY),
    )
    made = await kept_customer(conn, account, contacts=contacts)

    found = await customer.snapshots(conn, [(account.account, made.id)])

    snapshot = found[account.account, made.id]
    assert snapshot.emails == ("primary@acme.test", "standard@acme.test")
    assert (snapshot.legal_name, snapshot.address, snapshot.tax_status) == ("Acme Ltd", made.address, TaxStatus.TAXED)


async def test_percent_signs_are_text_in_a_filter(conn: Connection, account: Principal) -> None:
    await kept_customer(conn, account, legal_name="100 % Ltd")
    await kept_customer(conn, account, legal_name="Other Ltd")
    where = Filter(today=date(2025, 3, 10), legal_name="%")

    found = await customer.listing(conn, account.account, where=where, page=Page(limit=10))

    assert [one.legal_name for one in found.items] == ["100 % Ltd"]
