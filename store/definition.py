"""How a metric counts: one version of it, in the API's words, and how far its history is counted."""

from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from rating import metric, number
from rating.metric import Aggregation, Bound, Metric

# What `definition` and `history` read, of usage_metric_version as `version`.
COLUMNS = """version.event_type, version.aggregation_type, version.aggregation_property, version.property_filters,
version.is_case_sensitive, version.properties_to_negate, version.group_by, version.number_filters, version.folded_to,
version.born_no, version.received_from"""

_FILTERS = msgspec.json.Decoder(dict[str, list[str]])
_BOUNDS = msgspec.json.Decoder(dict[str, dict[str, str]])


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """How a metric counts. `number_filters` has plain decimals: {"tokens": {"gte": "10"}}."""

    event_type: str
    aggregation: Aggregation
    aggregation_property: str | None
    property_filters: dict[str, list[str]]
    is_case_sensitive: bool
    properties_to_negate: tuple[str, ...]
    group_by: tuple[str, ...] = ()
    number_filters: dict[str, dict[str, str]] = {}


class History(msgspec.Struct, frozen=True, kw_only=True):
    """How far a version has counted what was there before it; complete when `folded_to` has come to `born_no`.

    `received_from`: what was received before was dropped when the version was born, so it is not counted.
    """

    folded_to: int = 0
    born_no: int = 0
    received_from: datetime | None = None

    @property
    def is_complete(self) -> bool:
        return self.folded_to >= self.born_no

    @property
    def progress(self) -> Decimal:
        """The share of the events before it that is counted, about: event numbers have gaps."""
        if self.is_complete:
            return number.ONE
        return (Decimal(self.folded_to) / self.born_no).quantize(Decimal("0.001"), rounding=ROUND_DOWN)


def definition(row: asyncpg.Record) -> Definition:
    """The definition in a row of COLUMNS."""
    return Definition(
        event_type=row["event_type"],
        aggregation=Aggregation(row["aggregation_type"]),
        aggregation_property=row["aggregation_property"],
        property_filters=_FILTERS.decode(row["property_filters"]),
        is_case_sensitive=row["is_case_sensitive"],
        properties_to_negate=tuple(row["properties_to_negate"]),
        group_by=tuple(row["group_by"]),
        number_filters=_BOUNDS.decode(row["number_filters"]),
    )


def history(row: asyncpg.Record) -> History:
    """The state of its history in a row of COLUMNS."""
    return History(folded_to=row["folded_to"], born_no=row["born_no"], received_from=row["received_from"])


def values(of: Definition) -> tuple[Any, ...]:
    """The definition as the columns that are inserted, in the order of COLUMNS."""
    return (
        *(of.event_type, of.aggregation, of.aggregation_property, _json(of.property_filters)),
        *(of.is_case_sensitive, list(of.properties_to_negate), list(of.group_by), _json(of.number_filters)),
    )


def terms(of: Definition, *, id_: UUID, version: int, number: int, history: History) -> Metric:
    """A version as counting and billing read it."""
    filters = metric.filters(
        of.property_filters, negated=of.properties_to_negate, is_case_sensitive=of.is_case_sensitive
    )
    bounds = (
        Bound(name, comparison, Decimal(value))
        for name, wanted in sorted(of.number_filters.items())
        for comparison, value in sorted(wanted.items())
    )
    return Metric(
        id=str(id_),
        version=version,
        number=number,
        event_type=of.event_type,
        aggregation=of.aggregation,
        aggregation_property=of.aggregation_property,
        filters=filters,
        is_case_sensitive=of.is_case_sensitive,
        bounds=tuple(bounds),
        group_by=of.group_by,
        folded_to=history.folded_to,
        born_no=history.born_no,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
