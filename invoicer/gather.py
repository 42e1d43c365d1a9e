"""Everything that many bills need, read in a few set-based queries from one snapshot.

    [StoredSchedule, ...]  ->  Known(inputs={schedule id: BillInput}, snapshots, products)

The number of queries depends on the number of accounts in the batch (one, today), never on the number of schedules.
`rating.needs` says for each schedule what must be known; usage is asked once for every customer whose usage it bills.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from invoicer import tax
from rating import bill, period
from rating import usage as rating
from rating.bill import BillInput
from rating.credit import Grant
from rating.metric import Metric
from rating.needs import Needs
from rating.price import Price
from rating.tax import Tax, TaxStatus
from rating.terms import CreditUnit
from rating.usage import Usage, UsageKey
from store import account, amount, credit, customer, draw, family, metric, product, usage
from store import tax as taxes
from store.customer import AliasSpan, Snapshot
from store.db import Connection
from store.due import StoredSchedule
from store.product import Brief
from store.tax import TaxRate
from store.usage import Question


class Known(msgspec.Struct, frozen=True):
    """What a run knows. A schedule has no input when a usage metric of it does not exist, or still counts its history:
    those are in `counting`.
    """

    inputs: Mapping[UUID, BillInput]
    counting: frozenset[UUID]
    snapshots: Mapping[tuple[int, UUID], Snapshot]
    products: Mapping[tuple[int, UUID], Brief]


class _Asked(msgspec.Struct, frozen=True):
    """One question to the meter, for one customer of a schedule."""

    schedule: UUID
    customer: UUID
    key: UsageKey
    question: Question
    needs_amounts: bool


async def known(conn: Connection, schedules: Sequence[StoredSchedule], *, held: Sequence[tuple[int, UUID]]) -> Known:
    """Answer what `rating.bill` must know for each schedule's bill date; `held` are the grants that it may draw on.

    `conn` must hold one REPEATABLE READ snapshot: days, quarter hours and raw edges of one range are read by different
    statements.
    """
    snapshots = await customer.snapshots(conn, list({(s.account, s.customer) for s in schedules}))
    products = await product.briefs(conn, {(s.account, UUID(p.product_id)) for s in schedules for p in _prices(s)})
    found = Known({}, frozenset(), snapshots, products)
    by_account: defaultdict[int, list[StoredSchedule]] = defaultdict(list)
    for schedule in schedules:
        by_account[schedule.account].append(schedule)
    inputs: dict[UUID, BillInput] = {}
    counting: set[UUID] = set()
    for number, members in by_account.items():
        grants = [grant for of, grant in held if of == number]
        some, young = await _inputs(conn, number, members, found=found, held=grants)
        inputs |= some
        counting |= young
    return msgspec.structs.replace(found, inputs=inputs, counting=frozenset(counting))


async def _inputs(
    conn: Connection, number: int, schedules: Sequence[StoredSchedule], *, found: Known, held: Sequence[UUID]
) -> tuple[dict[UUID, BillInput], set[UUID]]:
    """The inputs, and the schedules of which a metric still counts its history."""
    needs = {s.id: bill.needs(s.terms, s.bill_date) for s in schedules}
    metrics = await metric.load(conn, number, list({UUID(key.metric_id) for n in needs.values() for key in n.usage}))
    with_metrics = [s for s in schedules if all(UUID(key.metric_id) in metrics for key in needs[s.id].usage)]
    billable = [s for s in with_metrics if all(metrics[UUID(key.metric_id)].is_complete for key in needs[s.id].usage)]
    measured = await _usage(conn, number, billable, needs=needs, metrics=metrics)
    grants = await _grants(conn, number, held)
    granting = [s.id for s in billable if any(phase.grants for phase in s.terms.phases)]
    drawn = await draw.drawn(conn, number, schedules=granting) if granting else {}
    taxed = await _taxes(conn, number, billable, needs=needs, found=found)
    inputs = {
        s.id: BillInput(
            schedule=s.terms,
            bill_date=s.bill_date,
            usage=measured[s.id],
            grants=tuple(grant for grant in grants.get(s.customer, ()) if _can_pay(grant, needs[s.id])),
            drawn=drawn.get(s.id, {}),
            tax=taxed[s.id],
        )
        for s in billable
    }
    return inputs, {s.id for s in with_metrics} - inputs.keys()


async def _usage(
    conn: Connection,
    number: int,
    schedules: Sequence[StoredSchedule],
    *,
    needs: Mapping[UUID, Needs],
    metrics: Mapping[UUID, Metric],
) -> dict[UUID, dict[UsageKey, Usage]]:
    """The answers to every usage key of every schedule."""
    parents = list({s.customer for s in schedules if s.is_rolled_up})
    below = await family.descendants(conn, number, customers=parents) if parents else {}
    members = {s.id: (s.customer, *(below[s.customer] if s.is_rolled_up else ())) for s in schedules}
    everyone = list({one for some in members.values() for one in some})
    aliases = await customer.aliases_of(conn, account=number, customers=everyone)
    zone = ZoneInfo((await account.get(conn, number)).time_zone)
    asked = [
        _Asked(s.id, one, key, _question(metrics[UUID(key.metric_id)], key, aliases[one], zone), key in of.by_event)
        for s in schedules
        for of in (needs[s.id],)
        for key in of.usage
        for one in members[s.id]
    ]
    by_customer = await _answers(conn, number, asked)
    return {
        s.id: {key: _together(by_customer[s.id, key], is_rolled_up=s.is_rolled_up) for key in needs[s.id].usage}
        for s in schedules
    }


async def _answers(
    conn: Connection, number: int, asked: Sequence[_Asked]
) -> dict[tuple[UUID, UsageKey], dict[str, Usage]]:
    """By schedule and key what each customer used."""
    measured = await usage.measure(conn, number, [one.question for one in asked])
    by_event = iter(await amount.amounts(conn, number, [one.question for one in asked if one.needs_amounts]))
    found: defaultdict[tuple[UUID, UsageKey], dict[str, Usage]] = defaultdict(dict)
    for one, answer in zip(asked, measured, strict=True):
        found[one.schedule, one.key][str(one.customer)] = Usage(
            quantity=answer.value,
            event_count=answer.event_count,
            metric_version=one.question.metric.version,
            amounts=next(by_event) if one.needs_amounts else None,
        )
    return found


def _together(by_customer: Mapping[str, Usage], *, is_rolled_up: bool) -> Usage:
    if is_rolled_up:
        return rating.rolled_up(by_customer)
    (only,) = by_customer.values()
    return only


def _question(of: Metric, key: UsageKey, aliases: Sequence[AliasSpan], zone: ZoneInfo) -> Question:
    start, end = period.instants(key.service, zone)
    segments = (_segment(alias, start=start, end=end) for alias in aliases)
    return Question(metric=of, segments=tuple(s for s in segments if s.start < s.end))


def _segment(alias: AliasSpan, *, start: datetime, end: datetime) -> usage.Segment:
    """Cut the range to the time in which the alias belonged to the customer."""
    return usage.Segment(
        alias=alias.value,
        start=max(start, alias.valid_from) if alias.valid_from else start,
        end=min(end, alias.valid_to) if alias.valid_to else end,
    )


async def _grants(conn: Connection, number: int, held: Sequence[UUID]) -> dict[UUID, list[Grant]]:
    """By customer what its own grants have left."""
    found: defaultdict[UUID, list[Grant]] = defaultdict(list)
    for grant in await credit.load(conn, number, grants=held) if held else ():
        found[grant.customer].append(credit.rated(grant))
    return found


def _can_pay(grant: Grant, needs: Needs) -> bool:
    if grant.balance <= Decimal(0) or (grant.end is not None and needs.since is not None and grant.end <= needs.since):
        return False
    if grant.unit is CreditUnit.CURRENCY:
        return grant.currency == needs.currency
    return grant.metric_id in needs.grant_metrics


async def _taxes(
    conn: Connection, number: int, schedules: Sequence[StoredSchedule], *, needs: Mapping[UUID, Needs], found: Known
) -> dict[UUID, Tax]:
    """The tax of each bill, by schedule."""
    chosen = {choice.tax_rate_id for s in schedules for choice in s.tax_rates}
    rates = await taxes.load(conn, number, rates=chosen) if chosen else {}
    countries = {found.snapshots[number, s.customer].address.country for s in schedules}
    published = await taxes.published(conn, number, countries=countries)
    return {s.id: _tax(s, needs[s.id], found=found, rates=rates, published=published) for s in schedules}


def _tax(
    of: StoredSchedule,
    needs: Needs,
    *,
    found: Known,
    rates: Mapping[UUID, TaxRate],
    published: Sequence[TaxRate],
) -> Tax:
    snapshot = found.snapshots[of.account, of.customer]
    products = {price.id: UUID(price.product_id) for price in _prices(of)}
    return tax.resolve(
        TaxStatus(snapshot.tax_status),
        {UUID(price): found.products[of.account, products[price]].tax_category for price in needs.prices},
        chosen={choice.price_id: rates[choice.tax_rate_id] for choice in of.tax_rates if choice.tax_rate_id in rates},
        published=published,
        address=snapshot.address,
    )


def _prices(of: StoredSchedule) -> Iterator[Price]:
    return (price for phase in of.terms.phases for price in phase.prices)
