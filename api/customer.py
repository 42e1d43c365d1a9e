"""/customers: who is billed. Fields of the reference that are not offered yet are refused by name, never dropped."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import country, error, page, wire
from store import alias, customer, family
from store.alias import NewAlias
from store.customer import Address, BillingPreference, Contact, Customer, CustomerStatus, TaxStatus
from store.db import Connection
from store.family import Organization

CONTACTS_MAX = 100
ALIASES_MAX = 100

Text = Annotated[str, Meta(min_length=1, max_length=255)]
AliasValue = Annotated[str, Meta(min_length=1, max_length=255)]
# One @, no blanks: whether it can be delivered is not known until something is sent.
Email = Annotated[str, Meta(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
Properties = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=100)], Annotated[str, Meta(max_length=1000)]], Meta(max_length=50)
]


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/customers", _list),
        web.post("/customers", _create),
        web.get("/customers/by-alias/{alias}", _by_alias),
        web.get("/customers/{id}", _get),
        web.put("/customers/{id}", _update),
        web.post("/customers/{id}/archive", _archive),
    ]


class _ContactRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    name: Text
    email: Email
    billing_preference: BillingPreference


class _CustomerRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    legal_name: Text
    address: Address
    tax_status: TaxStatus
    contacts: Annotated[tuple[_ContactRequest, ...], Meta(max_length=CONTACTS_MAX)]
    url: Annotated[str, Meta(max_length=2048)] | None = None
    label: Annotated[str, Meta(max_length=255)] | None = None
    customer_aliases: Annotated[tuple[AliasValue, ...], Meta(max_length=ALIASES_MAX)] = ()
    status: CustomerStatus | None = None
    custom_properties: Properties | None = None
    parent_id: UUID | msgspec.UnsetType | None = msgspec.UNSET
    integration_ids: tuple[msgspec.Raw, ...] | None = None
    push_to_integrations: tuple[str, ...] | None = None


class _CustomerQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    legal_name: str | None = None
    email: str | None = None
    alias: str | None = None
    label: str | None = None
    include_archived: bool = False
    billing_status: Literal["ACTIVE", "INACTIVE"] | None = None
    sort_by: str | None = None


async def _create(request: web.Request) -> web.Response:
    account, now = wire.principal(request).account, wire.now(request)
    asked = _checked(await wire.read(request, _CustomerRequest))
    made = _customer(asked, id_=uuid7(), now=now)
    async with wire.connection(request) as conn, conn.transaction():
        await _check_parent(conn, account, made)
        await customer.create(conn, account, customer=made)
        await alias.create(conn, account, customer=made.id, aliases=_new(asked.customer_aliases), now=now)
        return wire.reply(await _shown(conn, account, made), 201)


async def _get(request: web.Request) -> web.Response:
    account, wanted = wire.principal(request).account, wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(await _shown(conn, account, await customer.get(conn, account, customer=wanted)))


async def _by_alias(request: web.Request) -> web.Response:
    wanted = request.match_info["alias"]
    async with wire.connection(request) as conn:
        found = await customer.by_alias(conn, wire.principal(request).account, alias=wanted)
    return wire.reply(_show_old(found))


async def _list(request: web.Request) -> web.Response:
    who, query = wire.principal(request), wire.read_query(request, _CustomerQuery)
    async with wire.connection(request) as conn:
        where = _filter(query, today=wire.now(request).astimezone(ZoneInfo(who.time_zone)))
        found = await customer.listing(conn, who.account, where=where, page=query.page())
        known = await family.organizations(conn, who.account, customers=[item.id for item in found.items])
    return page.reply(found, lambda item: _show(item, known[item.id]))


async def _update(request: web.Request) -> web.Response:
    account, now, wanted = wire.principal(request).account, wire.now(request), wire.path_id(request)
    asked = _checked(await wire.read(request, _CustomerRequest))
    async with wire.connection(request) as conn, conn.transaction():
        before = await customer.get(conn, account, customer=wanted, for_update=True)
        after = _customer(asked, id_=wanted, now=now, before=before)
        if after.parent != before.parent:
            await _check_parent(conn, account, after)
        await customer.update(conn, account, customer=after)
        # Listed aliases are added; one that is not listed stays, because ending a mapping is a decision of its own.
        has = {known.value for known in await alias.of_customer(conn, account, customer=wanted)}
        added = _new([value for value in asked.customer_aliases if value not in has])
        await alias.create(conn, account, customer=wanted, aliases=added, now=now)
        return wire.reply(await _shown(conn, account, after))


async def _archive(request: web.Request) -> web.Response:
    account, now, wanted = wire.principal(request).account, wire.now(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        found = await customer.get(conn, account, customer=wanted, for_update=True)
        if found.archived_at is None:
            found = msgspec.structs.replace(found, archived_at=now, updated_at=now)
            await customer.update(conn, account, customer=found)
        return wire.reply(await _shown(conn, account, found))


async def _check_parent(conn: Connection, account: int, asked: Customer) -> None:
    if asked.parent is not None:
        await family.check_parent(conn, account, customer=asked.id, parent=asked.parent)


def _checked(asked: _CustomerRequest) -> _CustomerRequest:
    """Refuse what the types let through."""
    for field in ("line1", "town", "postcode"):
        if not getattr(asked.address, field).strip():
            raise error.InvalidValue(f"`address.{field}` is empty.", key=f"address.{field}")
    country.check(asked.address.country, key="address.country")
    country.check_state(asked.address.state, of=asked.address.country, key="address.state")
    _check_contacts(asked.contacts)
    if len(set(asked.customer_aliases)) != len(asked.customer_aliases):
        raise error.InvalidValue("An alias is listed twice. List each once.", key="customerAliases")
    wire.refuse_if_given(
        integrationIds=asked.integration_ids,
        pushToIntegrations=asked.push_to_integrations,
    )
    return asked


def _check_contacts(contacts: Sequence[_ContactRequest]) -> None:
    preferences = {contact.billing_preference for contact in contacts}
    if BillingPreference.STANDARD in preferences and BillingPreference.PRIMARY not in preferences:
        message = "A contact gets billing mail, but none is PRIMARY. Set billingPreference PRIMARY on one."
        raise error.InvalidValue(message, key="contacts")


def _customer(asked: _CustomerRequest, *, id_: UUID, now: datetime, before: Customer | None = None) -> Customer:
    """The customer as asked for; status, custom properties and parent stay if the request leaves them out."""
    status, properties = (before.status, before.custom_properties) if before else (CustomerStatus.ACTIVE, {})
    parent = before.parent if before else None
    return Customer(
        id=id_,
        legal_name=asked.legal_name,
        label=asked.label,
        url=asked.url,
        tax_status=asked.tax_status,
        status=asked.status or status,
        address=asked.address,
        contacts=tuple(_contact(contact, now=now) for contact in asked.contacts),
        custom_properties=properties if asked.custom_properties is None else asked.custom_properties,
        created_at=before.created_at if before else now,
        updated_at=now,
        archived_at=before.archived_at if before else None,
        parent=parent if asked.parent_id is msgspec.UNSET else asked.parent_id,
    )


def _contact(asked: _ContactRequest, *, now: datetime) -> Contact:
    return Contact(
        id=uuid7(),
        name=asked.name,
        email=asked.email,
        billing_preference=asked.billing_preference,
        created_at=now,
        updated_at=now,
    )


def _new(values: Sequence[str]) -> list[NewAlias]:
    return [NewAlias(uuid7(), value) for value in values]


def _filter(query: _CustomerQuery, *, today: datetime) -> customer.Filter:
    wire.refuse_if_given(sortBy=query.sort_by)
    return customer.Filter(
        legal_name=query.legal_name,
        email=query.email,
        label=query.label,
        alias=query.alias,
        include_archived=query.include_archived,
        is_billed=None if query.billing_status is None else query.billing_status == "ACTIVE",
        today=today.date(),
    )


async def _shown(conn: Connection, account: int, found: Customer) -> dict[str, Any]:
    known = await family.organizations(conn, account, customers=[found.id])
    return _show(found, known[found.id])


def _show(found: Customer, organizations: Sequence[Organization]) -> dict[str, Any]:
    return {
        "id": found.id,
        "createdAt": found.created_at,
        "organizations": organizations,
        # Not in the reference, which shows a parent among the organizations only.
        "parentId": found.parent,
        "legalName": found.legal_name,
        "address": found.address,
        "url": found.url,
        "domain": None,
        "label": found.label,
        "integrationIds": [],
        "archivedAt": found.archived_at,
        "taxStatus": found.tax_status,
        "contacts": found.contacts,
        "status": found.status,
        "customProperties": found.custom_properties,
    }


def _show_old(found: Customer) -> dict[str, Any]:
    """The older shape, which the reference still answers with when asked by alias."""
    primary = next((c for c in found.contacts if c.billing_preference is BillingPreference.PRIMARY), None)
    return {
        "id": found.id,
        "createdAt": found.created_at,
        "legalName": found.legal_name,
        "contactName": primary.name if primary else None,
        "address": found.address,
        "email": primary.email if primary else "",
        "telephone": None,
        "url": found.url,
        "label": found.label,
        "integrationIds": [],
        "archivedAt": found.archived_at,
        "billingEmails": customer.billing_emails(found.contacts),
        "taxStatus": found.tax_status,
    }
