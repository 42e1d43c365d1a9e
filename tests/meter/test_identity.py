"""Ids become keys: themselves where they can, hashed where they must."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter import entry, identity

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


NAMES = st.text(max_size=3)
TIMES = st.integers(0, 4 * 10**15)
CONTENTS = st.lists(st.tuples(NAMES, NAMES, TIMES, st.binary(max_size=20)), min_size=1, max_size=8)


@given(CONTENTS, st.booleans())
def test_digests_of_many_are_those_of_one_by_one(contents: list[tuple[str, str, int, bytes]], is_timed: bool) -> None:
    aliases, types, times, texts = zip(*contents, strict=True)

    found = identity.digests(
        texts,
        aliases=entry.named(aliases),
        types=entry.named(types),
        timestamps=np.array(times) if is_timed else None,
    )

    assert found.tolist() == [
        identity.digest(alias, event_type, at if is_timed else None, text) for alias, event_type, at, text in contents
    ]


@given(NAMES, NAMES, TIMES, TIMES)
def test_parts_of_the_content_do_not_stand_for_each_other(one: str, other: str, at: int, later: int) -> None:
    def of(alias: str, event_type: str, timestamp: int | None) -> int:
        return identity.digest(alias, event_type, timestamp, b"{}")

    assert (of(one, other, at) == of(other, one, at)) == (one == other)
    assert (of(one, other, at) == of(one, other, later)) == (at == later)
    assert of(one, other, at) != of(one, other, None)
    assert of(one, one, at) != of(other, other, at) or one == other


def test_no_content_has_the_digest_of_a_cancellation() -> None:
    rest = identity.digest("", "", 0, b"")
    # The one time that brings the sum to 0.
    at = -rest * pow(identity._TIME_FACTOR, -1, 1 << 64) % (1 << 64)
    at -= (1 << 64) * (at >= 1 << 63)
    nameless = entry.named([""])

    assert identity.digest("", "", at, b"") == 1
    assert identity.digests([b""], aliases=nameless, types=nameless, timestamps=np.array([at])).tolist() == [1]
