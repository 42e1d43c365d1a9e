"""Versions of one id, walked in the order of receipt."""

from collections.abc import Sequence

import msgspec
import pytest

from meter import correct
from meter.batch import Candidate
from meter.correct import STORED


def versions(text: str) -> list[Candidate]:
    """versions("a b a") are three contents in the order of receipt; a star has no timestamp of the sender's."""
    return [
        Candidate(
            place=place,
            digest=ord(word[0]),
            order=(10 + place, 0, 0),
            timestamp=100 + place,
            has_own_timestamp="*" not in word,
        )
        for place, word in enumerate(text.split())
    ]


def stored(text: str, *, received: int = 0) -> Candidate:
    [one] = versions(text)
    return msgspec.structs.replace(one, place=STORED, order=(received, 0, 0), timestamp=7)


@pytest.mark.parametrize(
    ("before", "sent", "live", "duplicates", "superseded"),
    [
        (None, "a", 0, [], []),
        (None, "a a", 0, [1], []),
        (None, "a b", 1, [], [0]),
        (None, "a b b", 1, [2], [0]),
        (None, "a b a", 2, [], [0, 1]),
        ("a", "a", STORED, [0], []),
        ("a", "a a", STORED, [0, 1], []),
        ("a", "b", 0, [], [STORED]),
        ("a", "a b", 1, [0], [STORED]),
        ("a", "b a", 1, [], [STORED, 0]),
        ("a", "b b c", 2, [1], [STORED, 0]),
    ],
)
def test_the_last_received_wins(
    before: str | None, sent: str, live: int, duplicates: Sequence[int], superseded: Sequence[int]
) -> None:
    found = correct.walk(versions(sent), stored(before) if before else None)

    assert (found.live, list(found.duplicates), list(found.superseded)) == (live, duplicates, superseded)


def test_a_version_that_was_received_earlier_does_not_replace_a_later_one() -> None:
    found = correct.walk(versions("b"), stored("a", received=99))

    assert (found.live, found.superseded) == (STORED, (0,))


def test_a_repeat_confirms_the_version_that_stands() -> None:
    assert correct.walk(versions("a a"), stored("a")).order == (11, 0, 0)
    assert correct.walk(versions("a a"), stored("a", received=99)).order == (99, 0, 0)


def test_a_correction_without_a_timestamp_keeps_the_time_of_what_it_replaces() -> None:
    assert correct.walk(versions("b*"), stored("a")).retimed == {0: 7}
    assert correct.walk(versions("b c* d*"), stored("a")).retimed == {1: 100, 2: 100}
    assert correct.walk(versions("a*")).retimed == {}
