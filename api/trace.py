"""The trace of one event: whose it is, what each metric made of it and why, which prices and invoice lines it reached.

Nothing here counts: what a metric makes of an event is said by rating.match, from the same rules as counting.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from rating import match, metric
from rating.match import Match, Miss
from rating.metric import Metric
from store import counting
from store import trace as store_trace
from store.db import Connection
from store.trace import Owner, Reached
from store.usage_event import StoredEvent

_LIVE = "live"


async def trace(conn: Connection, account: int, event: StoredEvent) -> dict[str, Any]:
    """Everything about one event. Call inside one snapshot."""
    counted = (await counting.read(conn, [account]))[account]
    metrics = _current(counted.metrics)
    names = await store_trace.metric_names(conn, account, [UUID(one.id) for one in metrics])
    properties = metric.decode_properties(event.properties)
    found = {one.id: match.match(one, event.event_type, properties) for one in metrics}
    matched = [UUID(id_) for id_, one in found.items() if isinstance(one, Match)]
    owner = await store_trace.owner(conn, account, alias=event.customer_alias, at=event.timestamp)
    reached: list[Reached] = []
    if owner is not None and matched and event.state == _LIVE:
        day = event.timestamp.astimezone(counted.zone).date()
        reached = await store_trace.reached(conn, account, customer=owner.customer, day=day, metrics=matched)
    return {
        "isCounted": event.state == _LIVE and bool(matched),
        "message": _summary(event, owner, matched),
        "customer": _show_owner(owner),
        "metrics": [
            _show_metric(one, found[one.id], event)
            | {"name": names.get(UUID(one.id))}
            | {"prices": [_show_reached(r, event) for r in reached if str(r.metric) == one.id]}
            for one in metrics
        ],
    }


def _current(metrics: Iterable[Metric]) -> list[Metric]:
    """The current version of each metric: earlier ones count what was billed with them."""
    newest: dict[str, Metric] = {}
    for one in metrics:
        if one.id not in newest or newest[one.id].version < one.version:
            newest[one.id] = one
    return list(newest.values())


def _summary(event: StoredEvent, owner: Owner | None, matched: list[UUID]) -> str:
    if event.state != _LIVE:
        return f"The event is {event.state}, so it counts for nothing."
    whose = "to nobody yet" if owner is None else f"to {owner.legal_name}"
    if not matched:
        return f"No metric counts the event. Its alias belonged {whose} at that time."
    if owner is None:
        return (
            "The event is counted under its alias, which belonged to nobody at that time: map it with"
            " POST /customer-aliases, and the event is billed."
        )
    return f"The event is counted by {len(matched)} of the metrics, and belongs {whose}."


def _show_owner(owner: Owner | None) -> dict[str, Any] | None:
    if owner is None:
        return None
    return {
        "customerId": owner.customer,
        "legalName": owner.legal_name,
        "customerAliasId": owner.mapping,
        "validFrom": owner.valid_from,
        "validTo": owner.valid_to,
    }


def _show_metric(one: Metric, found: match.Found, event: StoredEvent) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "metricId": one.id,
        "version": one.version,
        "eventType": one.event_type,
        "aggregationType": one.aggregation,
        "isCounted": False,
        "adds": None,
        "reason": None,
        "property": None,
        "message": None,
    }
    if isinstance(found, Miss):
        return shown | {"reason": found.reason, "property": found.property, "message": found.message}
    if event.state != _LIVE:
        return shown | {"reason": event.state.upper(), "message": f"The event is {event.state}."}
    if one.folded_to <= event.event_no < one.born_no:
        return shown | {"reason": "HISTORY", "message": "The metric is still counting what came before it."}
    return shown | {"isCounted": True, "adds": found.adds}


def _show_reached(one: Reached, event: StoredEvent) -> dict[str, Any]:
    return {
        "priceId": one.price,
        "name": one.price_name,
        "billingScheduleId": one.schedule,
        "invoice": None if one.invoice is None else _show_invoice(one, event),
        "message": "No invoice has charged this day yet." if one.invoice is None else None,
    }


def _show_invoice(one: Reached, event: StoredEvent) -> dict[str, Any]:
    # An invoice reads everything that was accepted before its run began.
    is_included = one.calculated_at is not None and event.received_at <= one.calculated_at
    return {
        "id": one.invoice,
        "status": one.status,
        "invoiceNumber": one.number,
        "servicePeriodStart": one.service_start,
        "servicePeriodEnd": one.service_end,
        "calculatedAt": one.calculated_at,
        "isIncluded": is_included,
        "message": None if is_included else "The event came after the invoice was calculated.",
        "lineItems": [{"id": line.id, "title": line.title} for line in one.lines],
    }
