"""CloudEvents 1.0 as usage events."""

from typing import Any
from uuid import UUID

import msgspec
import pytest

from meter import cloud_event, event, identity, timestamp
from meter.error import EventRefused
from meter.event import Event
from tests.usage import NOW

NEW_ID = UUID("0195813c-0000-7000-8000-000000000000")


def cloud(**fields: Any) -> bytes:
    """A CloudEvent with these attributes set; msgspec.UNSET leaves one out."""
    plain = {"specversion": "1.0", "source": "https://shop.example/api", "id": "17", "type": "call", "subject": "acme"}
    return msgspec.json.encode({name: value for name, value in (plain | fields).items() if value is not msgspec.UNSET})


def read(body: bytes) -> Event:
    return cloud_event.decode(body, received_at=timestamp.microseconds(NOW), new_id=lambda: NEW_ID)


def test_a_cloud_event_is_a_usage_event() -> None:
    found = read(cloud(time="2025-03-01T10:07:00.5Z", data={"tokens": 5, "model": "large"}))

    ours = msgspec.json.encode(
        {
            "customerEventId": "https://shop.example/api 17",
            "customerAlias": "acme",
            "eventType": "call",
            "eventTimestamp": "2025-03-01T10:07:00.5Z",
            "eventProperties": {"tokens": 5, "model": "large"},
        }
    )
    assert found == event.decode(ours, received_at=timestamp.microseconds(NOW), new_id=lambda: NEW_ID)


def test_its_identity_is_source_and_id() -> None:
    keys = {read(cloud(source=source, id=id_)).key for source in ("a", "b") for id_ in ("1", "2")}

    assert len(keys) == 4
    assert read(cloud(source="my app")).key == read(cloud(source="my%20app")).key == identity.key("my%20app 17")


@pytest.mark.parametrize("data", [msgspec.UNSET, None, {}])
def test_data_may_be_missing(data: object) -> None:
    assert read(cloud(data=data)).properties == b"{}"


@pytest.mark.parametrize(
    "extension",
    [{"traceparent": "00-x-y-00"}, {"sampled": True}, {"partitionkey": None, "sequence": 7}],
)
def test_extension_attributes_are_allowed_and_change_nothing(extension: dict[str, Any]) -> None:
    assert read(cloud(**extension)) == read(cloud())


@pytest.mark.parametrize("type_", ["application/json", "application/json; charset=utf-8", "application/x+json", None])
def test_data_is_json(type_: str | None) -> None:
    assert read(cloud(datacontenttype=type_, dataschema="https://x.example/s", data={"a": 1})).properties == b'{"a":1}'


@pytest.mark.parametrize(
    ("body", "code", "key"),
    [
        *((cloud(**{name: msgspec.UNSET}), "MISSING_FIELD", name) for name in ("specversion", "source", "id", "type")),
        (cloud(subject=msgspec.UNSET), "MISSING_FIELD", "subject"),
        (cloud(subject=None), "WRONG_TYPE", "subject"),
        (cloud(id=7), "WRONG_TYPE", "id"),
        (cloud(time=7), "WRONG_TYPE", "time"),
        (cloud(data=[1]), "WRONG_TYPE", "data"),
        (cloud(data="text"), "WRONG_TYPE", "data"),
        (cloud(data={"a": {"b": 1}}), "WRONG_TYPE", "data.a"),
        (cloud(data={"a": msgspec.Raw(b"1e20")}), "INEXACT_NUMBER", "data.a"),
        (cloud(data_base64="AA=="), "UNKNOWN_FIELD", "data_base64"),
        (cloud(eventType="x"), "UNKNOWN_FIELD", "eventType"),
        (cloud(specversion="0.3"), "INVALID_VALUE", "specversion"),
        (cloud(source=""), "INVALID_VALUE", "source"),
        (cloud(id=""), "INVALID_VALUE", "id"),
        (cloud(source="s" * 200, id="i" * 55), "INVALID_VALUE", "id"),
        (cloud(subject=""), "INVALID_VALUE", "subject"),
        (cloud(type="a\tb"), "INVALID_VALUE", "type"),
        (cloud(time="yesterday"), "INVALID_VALUE", "time"),
        (cloud(datacontenttype="text/xml"), "INVALID_VALUE", "datacontenttype"),
        (cloud(data={f"p{n}": n for n in range(51)}), "INVALID_VALUE", "data"),
        (cloud(data={"a": "x" * 8_192}), "EVENT_TOO_LARGE", None),
        (b"{", "MALFORMED_JSON", None),
        (b"[]", "WRONG_TYPE", None),
        (b'{"specversion":"\xff"}', "MALFORMED_JSON", None),
        (b"[" * 100_000, "MALFORMED_JSON", None),
    ],
)
def test_each_way_to_be_wrong_has_its_code_in_names_of_cloud_events(body: bytes, code: str, key: str | None) -> None:
    with pytest.raises(EventRefused) as refused:
        read(body)

    assert (refused.value.code, refused.value.key) == (code, key)
    assert code == "UNKNOWN_FIELD" or not any(name in str(refused.value) for name in ("customer", "eventT", "eventP"))


def test_the_id_of_a_refused_event_is_told_where_it_can_be_read() -> None:
    assert cloud_event.sender_id(cloud(subject=7)) == "https://shop.example/api 17"
    assert cloud_event.sender_id(cloud(id=7)) is None
    assert cloud_event.sender_id(b"[]") is None
    assert cloud_event.sender_id(b"{") is None
