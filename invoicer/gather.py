"""Everything that many bills need, read in a few set-based queries from one snapshot.

    [StoredSchedule, ...]  ->  Known(inputs={schedule id: BillInput}, snapshots, products)

The number of queries depends on the number of accounts in the batch (one, today), never on the number of schedules.
`rating.needs` says for each schedule what must be known; usage and seats are asked once for all of them
(invoicer/usage.py, invoicer/seat.py).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

import msgspec

from invoicer import batch, seat, tax, usage
from rating import bill
from rating.bill import BillInput
from rating.credit import Grant
from rating.needs import Needs
from rating.price import Price
from rating.tax import Tax, TaxStatus
from rating.terms import CreditUnit
from store import credit, customer, draw, metric, product
from store import tax as taxes
from store.customer import Snapshot
from store.db import Connection
from store.due import StoredSchedule
from store.error import RawEventDropped
from store.product import Brief
from store.tax import TaxRate


class Known(msgspec.Struct, frozen=True):
    """What a run knows. A schedule has no input when a usage metric of it does not exist, still counts its history
    (those are in `counting`), or needs raw events that are not kept any more (`dropped`).
    """

    inputs: Mapping[UUID, BillInput]
    counting: frozenset[UUID]
    snapshots: Mapping[tuple[int, UUID], Snapshot]
    products: Mapping[tuple[int, UUID], Brief]
    dropped: frozenset[UUID] = frozenset()


async def known(
    conn: Connection,
    schedules: Sequence[StoredSchedule],
    *,
    held: Sequence[tuple[int, UUID]],
    versions: Mapping[str, int] = MappingProxyType({}),
) -> Known:
    """Answer what `rating.bill` must know for each schedule's bill date; `held` are the grants that it may draw on.

    `versions` names, by metric id, versions to read instead of the current ones: a bill made again keeps its own.

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
        try:
            some, young = await _inputs(conn, number, members, found=found, held=grants, versions=versions)
        except RawEventDropped:
            if len(schedules) == 1:
                return msgspec.structs.replace(found, dropped=frozenset([schedules[0].id]))
            return await _one_by_one(conn, schedules, held=held, versions=versions)
        inputs |= some
        counting |= young
    return msgspec.structs.replace(found, inputs=inputs, counting=frozenset(counting))


async def _one_by_one(
    conn: Connection,
    schedules: Sequence[StoredSchedule],
    *,
    held: Sequence[tuple[int, UUID]],
    versions: Mapping[str, int],
) -> Known:
    """The same in the rare case that some need what is not kept any more: the others are billed all the same."""
    parts = [await known(conn, [of], held=held, versions=versions) for of in schedules]
    return Known(
        {id_: given for one in parts for id_, given in one.inputs.items()},
        frozenset(id_ for one in parts for id_ in one.counting),
        {of: snapshot for one in parts for of, snapshot in one.snapshots.items()},
        {of: brief for one in parts for of, brief in one.products.items()},
        frozenset(id_ for one in parts for id_ in one.dropped),
    )


async def _inputs(
    conn: Connection,
    number: int,
    schedules: Sequence[StoredSchedule],
    *,
    found: Known,
    held: Sequence[UUID],
    versions: Mapping[str, int],
) -> tuple[dict[UUID, BillInput], set[UUID]]:
    """The inputs, and the schedules of which a metric still counts its history."""
    needs = {s.id: bill.needs(s.terms, s.bill_date) for s in schedules}
    metrics = await metric.load(conn, number, list({UUID(key.metric_id) for n in needs.values() for key in n.usage}))
    if versions:
        metrics |= await metric.load_versions(conn, number, {UUID(one): version for one, version in versions.items()})
    with_metrics = [s for s in schedules if all(UUID(key.metric_id) in metrics for key in needs[s.id].usage)]
    billable = [s for s in with_metrics if all(metrics[UUID(key.metric_id)].is_complete for key in needs[s.id].usage)]
    together = await batch.batch(conn, number, billable, needs=needs)
    measured = await usage.measured(conn, together, metrics=metrics)
    balances = await seat.balances(conn, together)
    grants = await _grants(conn, number, held)
    granting = [s.id for s in billable if any(phase.grants for phase in s.terms.phases)]
    drawn = await draw.drawn(conn, number, schedules=granting) if granting else {}
    taxed = await _taxes(conn, number, billable, needs=needs, found=found)
    inputs = {
        s.id: BillInput(
            schedule=s.terms,
            bill_date=s.bill_date,
            usage=measured[s.id],
            seats=balances[s.id],
            grants=tuple(grant for grant in grants.get(s.customer, ()) if can_pay(grant, needs[s.id])),
            drawn=drawn.get(s.id, {}),
            tax=taxed[s.id],
            due=needs[s.id].due,
        )
        for s in billable
    }
    return inputs, {s.id for s in with_metrics} - inputs.keys()


async def _grants(conn: Connection, number: int, held: Sequence[UUID]) -> dict[UUID, list[Grant]]:
    """By customer what its own grants have left."""
    found: defaultdict[UUID, list[Grant]] = defaultdict(list)
    for grant in await credit.load(conn, number, grants=held) if held else ():
        found[grant.customer].append(credit.rated(grant))
    return found


def can_pay(grant: Grant, needs: Needs) -> bool:
    """Whether a grant may pay something of a bill."""
    if grant.balance <= Decimal(0) or (grant.end is not None and needs.since is not None and grant.end <= needs.since):
        return False
    if grant.unit is CreditUnit.CURRENCY:
        return grant.currency == needs.currency
    return grant.metric_id in needs.grant_metrics


async def _taxes(
    conn: Connection, number: int, schedules: Sequence[StoredSchedule], *, needs: Mapping[UUID, Needs], found: Known
) -> dict[UUID, Tax]:
    """The tax of each bill, by schedule."""
    chosen = {rate for s in schedules for rate in _chosen(s).values()}
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
        {UUID(one): _category(of, products.get(one), found) for one in needs.prices},
        chosen={one: rates[rate] for one, rate in _chosen(of).items() if rate in rates},
        published=published,
        address=snapshot.address,
    )


def _category(of: StoredSchedule, product: UUID | None, found: Known) -> UUID | None:
    """The tax category of a product; what a credit grant costs is of none."""
    return None if product is None else found.products[of.account, product].tax_category


def _chosen(of: StoredSchedule) -> dict[UUID, UUID]:
    """The tax rates that were chosen by hand, by price and by credit grant."""
    chosen = {choice.price_id: choice.tax_rate_id for choice in of.tax_rates}
    for phase in of.terms.phases:
        chosen |= {UUID(grant.id): UUID(grant.tax_rate_id) for grant in phase.grants if grant.tax_rate_id is not None}
    return chosen


def _prices(of: StoredSchedule) -> Iterator[Price]:
    return (price for phase in of.terms.phases for price in phase.prices)
