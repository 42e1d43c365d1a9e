"""Rows become events: columns, constants, properties; and mappings that do not fit are refused with a hint."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from usance.importer import mapping
from usance.importer.mapping import FieldMap, MappingError, RowError

TIME = "2026-01-31T12:00:00Z"
HEADER = ("team", "at", "tokens")
MAPS = ("customerAlias=team", "eventTimestamp=at", "eventProperties.tokens=tokens")


def fields(
    maps: Sequence[str] = MAPS,
    sets: Sequence[str] = ("eventType=call",),
    *,
    header: Sequence[str] = HEADER,
    is_typed: bool = False,
) -> FieldMap:
    return mapping.complete(mapping.parse(maps, sets), header, is_typed=is_typed)


def event(row: dict[str, Any], made: FieldMap | None = None) -> dict[str, Any]:
    return mapping.event(made or fields(), row, row_id="row-1")[0]


def test_columns_and_constants_become_fields() -> None:
    assert event({"team": "acme", "at": TIME, "tokens": "42"}) == {
        "customerAlias": "acme",
        "eventType": "call",
        "eventTimestamp": "2026-01-31T12:00:00+00:00",
        "customerEventId": "row-1",
        "eventProperties": {"tokens": 42},
    }


def test_an_empty_cell_is_an_absent_property() -> None:
    assert "eventProperties" not in event({"team": "acme", "at": TIME, "tokens": ""})


def test_an_empty_needed_cell_refuses_the_row() -> None:
    with pytest.raises(RowError, match="team is empty, and customerAlias comes from it"):
        event({"team": "", "at": TIME, "tokens": "1"})


def test_a_named_id_column_gives_the_ids() -> None:
    made = fields([*MAPS, "customerEventId=tokens"])

    assert event({"team": "acme", "at": TIME, "tokens": "id-7"}, made)["customerEventId"] == "id-7"


def test_a_named_id_column_must_not_be_empty() -> None:
    made = fields([*MAPS, "customerEventId=tokens"])

    with pytest.raises(RowError, match="tokens is empty"):
        event({"team": "acme", "at": TIME, "tokens": ""}, made)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("0", 0),
        ("42", 42),
        ("-0.5", Decimal("-0.5")),
        ("99999999999999999999", 99999999999999999999),
        ("0.000000000000000001", Decimal("0.000000000000000001")),
    ],
)
def test_numbers_in_their_shortest_form_are_numbers(cell: str, expected: object) -> None:
    assert mapping.number_or_text(cell) == expected


@pytest.mark.parametrize(
    "cell",
    ["007", "1.50", "1e3", "-0", "+1", ".5", "5.", "1_000", "100000000000000000000", "0.0000000000000000001", "٣"],
)
def test_everything_else_stays_the_text_it_is(cell: str) -> None:
    assert mapping.number_or_text(cell) == cell


def test_columns_with_the_names_of_fields_need_no_option() -> None:
    header = ("customerAlias", "eventType", "eventTimestamp", "eventProperties.a", "eventProperties#b", "note")
    row = dict(zip(header, ("acme", "call", TIME, "1", "x", "left out"), strict=True))

    assert event(row, fields((), (), header=header))["eventProperties"] == {"a": 1, "b": "x"}


def test_typed_rows_keep_their_types_and_their_properties() -> None:
    made = fields(
        ["eventProperties.n=usage.n"],
        (),
        header=("customerAlias", "eventType", "eventTimestamp", "usage.n"),
        is_typed=True,
    )
    row = {"customerAlias": "acme", "eventType": "call", "eventTimestamp": TIME, "usage": {"n": "5"}}

    assert event(row | {"eventProperties": {"ok": True}}, made)["eventProperties"] == {"ok": True, "n": "5"}


def test_a_missing_column_is_named_with_the_nearest_one() -> None:
    with pytest.raises(MappingError, match=r"no column 'teem'\. Did you mean 'team'\? Its columns: team, at, tokens\."):
        fields(["customerAlias=teem"])


def test_a_field_that_nothing_gives_is_named() -> None:
    with pytest.raises(MappingError, match="where eventTimestamp comes from: add --map eventTimestamp=COLUMN"):
        fields(["customerAlias=team"])


@pytest.mark.parametrize(
    ("maps", "sets", "reason"),
    [
        (["timestamp=at"], [], "is no field of a usage event. Did you mean 'eventTimestamp'"),
        (["customerAlias"], [], "write --map FIELD=COLUMN"),
        ([], ["customerAlias="], "write --set FIELD=VALUE"),
        (["eventProperties.=x"], [], "is no field"),
        (["customerAlias=team"], ["customerAlias=acme"], "given twice"),
        (["customerAlias=team", "customerAlias=at"], [], "given twice"),
        ([], ["customerEventId=1"], "the second row would replace the first"),
    ],
)
def test_options_that_make_no_sense_are_refused(maps: list[str], sets: list[str], reason: str) -> None:
    with pytest.raises(MappingError, match=reason):
        mapping.parse(maps, sets)
