"""Requests become structs; every way to be wrong has its code and the path of the field."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from api import error, wire


class Inner(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    town: Annotated[str, Meta(min_length=1)]
    start_date: date | None = None
    kind: Literal["A", "B"] = "A"


class Outer(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    legal_name: str
    inner: Inner | None = None
    several: list[Inner] = []
    amount: Decimal | None = None
    fields: dict[str, str] = {}


@pytest.mark.parametrize(
    ("body", "kind", "key"),
    [
        ('{"inner": null}', error.MissingField, "legalName"),
        ('{"legalName": "A", "inner": {}}', error.MissingField, "inner.town"),
        ('{"legalName": "A", "several": [{"town": "T"}, {}]}', error.MissingField, "several[1].town"),
        ('{"legalName": "A", "legal_name": "A"}', error.UnknownField, "legal_name"),
        ('{"legalName": "A", "inner": {"town": "T", "x": 1}}', error.UnknownField, "inner.x"),
        ('{"legalName": 1}', error.WrongType, "legalName"),
        ('{"legalName": null}', error.WrongType, "legalName"),
        ('{"legalName": "A", "several": {}}', error.WrongType, "several"),
        ('{"legalName": "A", "fields": {"a": 1}}', error.WrongType, "fields[...]"),
        ("[]", error.WrongType, None),
        ('{"legalName": "A", "inner": {"town": ""}}', error.InvalidValue, "inner.town"),
        (
            '{"legalName": "A", "inner": {"town": "T", "startDate": "2025-02-30"}}',
            error.InvalidValue,
            "inner.startDate",
        ),
        ('{"legalName": "A", "inner": {"town": "T", "kind": "C"}}', error.InvalidValue, "inner.kind"),
        ('{"legalName": "A", "amount": "1x"}', error.InvalidValue, "amount"),
        ('{"legalName": "A"', error.MalformedJson, None),
        ("", error.MalformedJson, None),
        ('{"legalName": "A"} {}', error.MalformedJson, None),
    ],
)
def test_what_is_wrong_has_its_own_code_and_names_the_field(body: str, kind: type[error.ApiError], key: str) -> None:
    with pytest.raises(error.ApiError) as caught:
        wire.decode(body.encode(), Outer)

    assert type(caught.value) is kind
    assert caught.value.key == key


def test_bytes_that_are_not_utf8_are_malformed() -> None:
    with pytest.raises(error.MalformedJson):
        wire.decode(b'{"legalName": "\xff"}', Outer)


def test_a_body_nested_without_end_is_malformed() -> None:
    with pytest.raises(error.MalformedJson):
        wire.decode(b"[" * 100_000, list)


def test_a_field_inside_another_is_named_by_its_whole_path() -> None:
    with pytest.raises(error.MissingField) as caught, wire.explained("structure"):
        msgspec.json.decode(b'{"legalName": "A", "several": [{}]}', type=Outer)

    assert caught.value.key == "structure.several[0].town"


def test_numbers_stay_exact_from_the_text_on() -> None:
    read = wire.decode(b'{"legalName": "A", "amount": 0.1000000000000000055}', Outer)

    assert read.amount == Decimal("0.1000000000000000055")


@pytest.mark.parametrize("empty", [None, "", (), [], {}, False])
def test_an_empty_field_that_is_not_offered_is_as_good_as_absent(empty: object) -> None:
    wire.refuse_if_given(parentId=empty)


def test_a_field_that_is_not_offered_is_refused_by_name() -> None:
    with pytest.raises(error.NotOfferedYet) as caught:
        wire.refuse_if_given(parentId="x")

    assert caught.value.key == "parentId"
