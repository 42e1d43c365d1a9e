"""Billing schedules as requests say them: from the wire's fields to what is kept, and back.

What the reference has and this version does not do is refused by name. What the engine does not read is kept together
as `particulars`, in the reference's field names.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from api import error, instant, page, phase, wire
from rating.schedule import ANCHOR_DAY_MAX
from store import schedule
from store.schedule import BillingSchedule, Status, TaxChoice

TAX_RATES_MAX = 1000

Text = Annotated[str, Meta(max_length=255)]
Fields = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=100)], Annotated[str, Meta(max_length=1000)]], Meta(max_length=50)
]

# What the reference shows of features that do not exist yet, as for a schedule without them.
NOT_OFFERED: Mapping[str, Any] = {
    "integrationIds": [],
    "attachmentAssets": [],
    "contractId": None,
    "paymentProvider": "NONE",
    "autoCharge": False,
}
_NOT_ISSUED = {
    "code": "AUTO_ISSUE_NOT_OFFERED",
    "message": "Invoices are not issued by themselves yet. Each is a draft until POST /invoices/{id}/finalize.",
}


class UpdateRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """PUT: everything but the customer, the reference and the label."""

    start_date: date
    end_date: date | None = None
    recurrence_day_of_month: Annotated[int, Meta(ge=1, le=31)] | None = None
    tax_rates: Annotated[tuple[TaxChoice, ...], Meta(max_length=TAX_RATES_MAX)]
    auto_issue_invoices: bool
    purchase_order_number: Text | None = None
    roll_up_billing: bool
    phases: phase.Phases
    attachment_asset_ids: tuple[str, ...] | None = None
    default_due_date_days: Annotated[int, Meta(ge=0, le=3650)] | None = None
    memo: Annotated[str, Meta(max_length=5000)] | None = None
    custom_fields: Fields | None = None


class CreateRequest(UpdateRequest, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """POST: what PUT takes, and what is said once."""

    customer_id: UUID
    is_draft: bool
    reference: Text | None = None
    label: Text | None = None
    payment_provider: str | None = None
    auto_charge: bool | None = None


class ScheduleQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The filters of GET; lists are comma-separated."""

    customer_id: str | None = None
    billing_schedule_status: str | None = None
    auto_send_invoices: bool | None = None
    label: str | None = None
    include_archived_schedules: bool = False
    starting_before: date | None = None
    starting_after: date | None = None
    ending_before: date | None = None
    ending_after: date | None = None
    include_open_ended_schedules: bool | None = None
    recurrence_day_of_month: str | None = None
    sort_by: str | None = None


def made(asked: CreateRequest, *, id_: UUID, now: datetime) -> BillingSchedule:
    """A new schedule as asked for."""
    _check(asked)
    if asked.payment_provider not in {None, "NONE"}:
        raise error.NotOfferedYet("Payment is not collected yet. Send NONE or leave it out.", key="paymentProvider")
    wire.refuse_if_given(autoCharge=asked.auto_charge)
    return BillingSchedule(
        id=id_,
        customer=asked.customer_id,
        is_draft=asked.is_draft,
        start_date=asked.start_date,
        end_date=asked.end_date,
        recurrence_day=asked.recurrence_day_of_month,
        auto_issue=asked.auto_issue_invoices,
        particulars=_particulars(asked, {"reference": asked.reference, "label": asked.label}),
        phases=phase.read(asked.phases, now=now),
        is_rolled_up=asked.roll_up_billing,
        tax_rates=_tax_rates(asked),
        created_at=now,
        updated_at=now,
    )


def changed(before: BillingSchedule, asked: UpdateRequest, *, now: datetime) -> BillingSchedule:
    """A schedule that exists, as asked for; custom fields stay if the request leaves them out."""
    _check(asked)
    kept = {name: before.particulars.get(name) for name in ("reference", "label", "customFields")}
    return msgspec.structs.replace(
        before,
        start_date=asked.start_date,
        end_date=asked.end_date,
        recurrence_day=asked.recurrence_day_of_month,
        auto_issue=asked.auto_issue_invoices,
        particulars=_particulars(asked, kept),
        phases=phase.read(asked.phases, now=now, before=before.phases),
        is_rolled_up=asked.roll_up_billing,
        tax_rates=_tax_rates(asked),
        updated_at=now,
    )


def wanted(query: ScheduleQuery, *, today: date) -> schedule.Filter:
    """The filters as the store takes them."""
    wire.refuse_if_given(sortBy=query.sort_by)
    has_end = query.ending_after is not None or query.ending_before is not None
    return schedule.Filter(
        today=today,
        customers=wire.split(query.customer_id, UUID, key="customerId"),
        statuses=wire.split(query.billing_schedule_status, Status, key="billingScheduleStatus"),
        auto_issue=query.auto_send_invoices,
        label=query.label,
        starting_after=query.starting_after,
        starting_before=query.starting_before,
        ending_after=query.ending_after,
        ending_before=query.ending_before,
        # Who asks for ends means schedules that have one, unless they say otherwise.
        include_open_ended=not has_end
        if query.include_open_ended_schedules is None
        else query.include_open_ended_schedules,
        recurrence_days=wire.split(query.recurrence_day_of_month, _day_of_month, key="recurrenceDayOfMonth"),
        include_archived=query.include_archived_schedules,
    )


def warnings(of: BillingSchedule) -> list[dict[str, str]]:
    """What was taken as the reference takes it and does not happen yet, so that nobody waits for it."""
    return [_NOT_ISSUED] if of.auto_issue else []


def tax_rates(of: BillingSchedule) -> dict[str, UUID]:
    """The tax rates that were chosen by hand, by the field that names each."""
    found = {f"taxRates[{index}].taxRateId": choice.tax_rate_id for index, choice in enumerate(of.tax_rates)}
    for place, part in enumerate(of.phases):
        for index, grant in enumerate(part.terms.grants):
            if grant.tax_rate_id is not None:
                found[f"phases[{place}].creditGrants[{index}].taxRateId"] = UUID(grant.tax_rate_id)
    return found


def show_particulars(particulars: Mapping[str, Any]) -> dict[str, Any]:
    """What the engine does not read, as the reference shows it."""
    texts = ("purchaseOrderNumber", "reference", "label", "memo", "defaultDueDateDays")
    return {name: particulars.get(name) for name in texts} | {"customFields": particulars.get("customFields", {})}


def _day_of_month(text: str) -> int:
    day = int(text)
    if not 1 <= day <= ANCHOR_DAY_MAX:
        raise ValueError(f"a billing day lies between 1 and {ANCHOR_DAY_MAX}")
    return day


def _check(asked: UpdateRequest) -> None:
    """Refuse what is not offered, and days that no calendar reaches."""
    instant.check_days(startDate=asked.start_date, endDate=asked.end_date)
    wire.refuse_if_given(attachmentAssetIds=asked.attachment_asset_ids)


def _tax_rates(asked: UpdateRequest) -> tuple[TaxChoice, ...]:
    """The rates chosen by hand, at most one for each price of the schedule."""
    prices = {price for one in asked.phases for price in one.price_ids}
    seen: set[UUID] = set()
    for index, choice in enumerate(asked.tax_rates):
        key = f"taxRates[{index}].priceId"
        if choice.price_id not in prices:
            raise error.InvalidValue(f"No phase has a price {choice.price_id}.", key=key)
        if choice.price_id in seen:
            raise error.InvalidValue("A price is listed twice. Choose one rate for it.", key=key)
        seen.add(choice.price_id)
    return asked.tax_rates


def _particulars(asked: UpdateRequest, kept: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        "purchaseOrderNumber": asked.purchase_order_number,
        "memo": asked.memo,
        "defaultDueDateDays": asked.default_due_date_days,
        "customFields": asked.custom_fields,
    }
    merged = {**kept, **{name: value for name, value in given.items() if value is not None}}
    return {name: value for name, value in merged.items() if value is not None}
