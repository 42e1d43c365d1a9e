"""Phases of a billing schedule on the wire: which prices and terms hold from when to when."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import error, instant, term, wire
from api.term import DiscountRequest, GrantRequest, MinimumRequest
from rating import number
from rating.phase import PHASES_MAX, PRICES_MAX, Milestone, RecurrencePreference
from store.phase import Phase, Terms


class MilestoneRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What ends a phase that has no end date. Ours; it is completed by a request of its own (api/milestone.py)."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]


class PhaseRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A phase as it is asked for; dates inclusive."""

    price_ids: Annotated[tuple[UUID, ...], Meta(max_length=PRICES_MAX)]
    start_date: date
    end_date: date | None = None
    name: Annotated[str, Meta(max_length=255)] | None = None
    recurrence_preference: RecurrencePreference | None = None
    external_contract_ref: str | None = None
    # How many there may be is rating's to say (rating.phase.TERMS_MAX).
    discounts: tuple[DiscountRequest, ...] | None = None
    minimums: tuple[MinimumRequest, ...] | None = None
    credit_grants: tuple[GrantRequest, ...] | None = None
    list_price_ids: tuple[Any, ...] | None = None
    phase_price_metadata: tuple[Any, ...] | None = None
    phase_list_price_metadata: tuple[Any, ...] | None = None
    # Extensions of ours.
    plan_minimum: Decimal | None = None
    milestone: MilestoneRequest | None = None


Phases = Annotated[tuple[PhaseRequest, ...], Meta(max_length=PHASES_MAX)]


def read(asked: Sequence[PhaseRequest], *, now: datetime, before: Sequence[Phase] = ()) -> tuple[Phase, ...]:
    """The phases as they are kept; what is not offered yet is refused by name.

    A phase keeps the id of the one that stood in its place. If no phase says anything of grants, they stay as they are.
    """
    if not asked:
        raise error.InvalidValue("A billing schedule has a phase. Send one.", key="phases")
    keeps_grants = all(one.credit_grants is None for one in asked)
    return tuple(
        _phase(
            one,
            before[index] if index < len(before) else None,
            place=f"phases[{index}]",
            keeps_grants=keeps_grants,
            now=now,
        )
        for index, one in enumerate(asked)
    )


def show(found: Phase, *, schedule: UUID, account_id: UUID) -> dict[str, Any]:
    """A phase as the reference shows it."""
    terms = found.terms
    return {
        "id": found.id,
        "name": found.name,
        "externalContractRef": None,
        "createdAt": found.created_at,
        "billingScheduleId": schedule,
        "priceIds": found.prices,
        "startDate": found.start_date,
        "endDate": found.end_date,
        "discounts": [term.show_discount(one) for one in terms.discounts],
        "minimums": [
            term.show_minimum(one, account_id=account_id, schedule=schedule, phase=found.id, at=found.created_at)
            for one in terms.minimums
        ],
        "creditGrants": [term.show_grant(one) for one in terms.grants],
        "recurrencePreference": found.recurrence,
        "phasePriceMetadata": [],
        # Extensions of ours.
        "planMinimum": None if terms.plan_minimum is None else number.plain(terms.plan_minimum),
        "milestone": _show_milestone(terms.milestone),
    }


def _show_milestone(found: Milestone | None) -> dict[str, Any] | None:
    return None if found is None else {"name": found.name, "completedOn": found.completed_on}


def _phase(asked: PhaseRequest, before: Phase | None, *, place: str, keeps_grants: bool, now: datetime) -> Phase:
    wire.refuse_if_given(
        **{
            f"{place}.externalContractRef": asked.external_contract_ref,
            f"{place}.listPriceIds": asked.list_price_ids,
            f"{place}.phasePriceMetadata": asked.phase_price_metadata,
            f"{place}.phaseListPriceMetadata": asked.phase_list_price_metadata,
        }
    )
    instant.check_days(**{f"{place}.startDate": asked.start_date, f"{place}.endDate": asked.end_date})
    old = before.terms if before else Terms()
    grants = term.grants(asked.credit_grants or (), before=old.grants, place=f"{place}.creditGrants")
    return Phase(
        id=before.id if before else uuid7(),
        name=asked.name,
        start_date=asked.start_date,
        end_date=asked.end_date,
        prices=asked.price_ids,
        created_at=before.created_at if before else now,
        recurrence=asked.recurrence_preference or RecurrencePreference.CONTINUE_FROM_PREVIOUS_PHASE,
        terms=Terms(
            discounts=term.discounts(asked.discounts or (), before=old.discounts, place=f"{place}.discounts"),
            minimums=term.minimums(asked.minimums or (), before=old.minimums),
            grants=old.grants if keeps_grants else grants,
            plan_minimum=asked.plan_minimum,
            milestone=_milestone(asked.milestone, old.milestone),
        ),
    )


def _milestone(asked: MilestoneRequest | None, before: Milestone | None) -> Milestone | None:
    """A milestone that is completed stays so."""
    if asked is None:
        return None
    return before if before is not None and before.name == asked.name else Milestone(asked.name)
