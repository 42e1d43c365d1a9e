"""Ids become keys: themselves where they can, hashed where they must."""

from uuid import UUID

import pytest

from meter import identity

V4 = "0b9cf7a1-2d5c-4c1e-9a5a-0d6f8f4b5c6d"


def test_a_canonical_uuid_is_its_own_key() -> None:
    assert identity.public_id(identity.key(V4)) == UUID(V4)
    assert identity.is_id(identity.key(V4))


@pytest.mark.parametrize(
    "id_", ["e1", "", V4.upper(), V4.replace("-", ""), f"{{{V4}}}", V4 + "\n", "0b9cf7a1-2d5c-8c1e-9a5a-0d6f8f4b5c6d"]
)
def test_every_other_id_is_hashed_to_a_uuid_of_version_8(id_: str) -> None:
    found = identity.public_id(identity.key(id_))

    assert (found.version, found.variant) == (8, "specified in RFC 4122")
    assert str(found) != id_.lower()


def test_the_key_of_an_id_cannot_be_hit_by_naming_it() -> None:
    hashed = str(identity.public_id(identity.key("e1")))

    assert identity.key(hashed) != identity.key("e1")


def test_keys_never_change() -> None:
    assert identity.key("e1").hex() == "b37708fb53f28593a4c0ec64ca9a8baa"


def test_parts_of_the_content_cannot_run_into_each_other() -> None:
    one = identity.digest(alias="ab", event_type="c", timestamp=None, properties=b"{}")
    two = identity.digest(alias="a", event_type="bc", timestamp=None, properties=b"{}")

    assert one != two
