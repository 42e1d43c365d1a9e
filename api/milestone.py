"""Milestones: what ends a phase without an end date, an extension of ours.

    POST /billing-schedules/{id}/phases/{phase}/complete {"completedOn": "2025-02-28"}

The day is the phase's last; what comes behind starts on the next. A milestone is completed once, today or on a day that
is over, and not on a day before the last bill: what is billed stays as it is.
"""

from datetime import date
from uuid import UUID

import msgspec

from api import error
from store.progress import Billed
from store.schedule import BillingSchedule


class CompleteRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The last day of the phase; today if it is left out."""

    completed_on: date | None = None


def completed(found: BillingSchedule, phase: UUID, *, on: date, today: date, billed: Billed) -> BillingSchedule:
    """The schedule with the milestone of one phase completed."""
    place = next((index for index, one in enumerate(found.phases) if one.id == phase), None)
    milestone = None if place is None else found.phases[place].terms.milestone
    if place is None or milestone is None:
        raise error.NotFound(f"This schedule has no phase {phase} with a milestone.", key="phase")
    if milestone.completed_on is not None:
        raise error.MilestoneClosed(f"The milestone was completed on {milestone.completed_on}.")
    if found.is_draft or any(_is_open(found, index) for index in range(place)):
        raise error.MilestoneClosed("The phase has not begun. Start the schedule, and complete what comes before.")
    _check_day(on, today=today, billed=billed)
    old = found.phases[place]
    terms = msgspec.structs.replace(old.terms, milestone=msgspec.structs.replace(milestone, completed_on=on))
    phases = list(found.phases)
    phases[place] = msgspec.structs.replace(old, terms=terms)
    return msgspec.structs.replace(found, phases=tuple(phases))


def _is_open(found: BillingSchedule, place: int) -> bool:
    milestone = found.phases[place].terms.milestone
    return milestone is not None and milestone.completed_on is None


def _check_day(on: date, *, today: date, billed: Billed) -> None:
    if on > today:
        raise error.InvalidValue(f"Today is {today}. Complete a milestone when it is reached.", key="completedOn")
    if billed.last_date is not None and on < billed.last_date:
        message = f"This schedule is billed up to {billed.last_date}. Complete the milestone on that day or later."
        raise error.EndDateBilled(message, key="completedOn")
