"""Versions of one id, walked in the order of receipt."""

from itertools import permutations

import pytest

from meter import version
from meter.version import Item, Walk

STORED = 100


def items(text: str, *, first: int = 0, is_new: bool = True) -> list[Item]:
    """items("a b -") are two contents and a cancellation, received at 0, 1, 2; a star has no timestamp of the sender's.

    What is stored has numbers from 100 on.
    """
    return [
        Item(
            order=(first + place, 0, 0),
            digest=0 if word[0] == "-" else ord(word[0]),
            event_no=first + place + (0 if is_new else STORED),
            is_new=is_new,
            timestamp=1000 + first + place,
            has_own_timestamp="*" not in word,
        )
        for place, word in enumerate(text.split())
    ]


def walked(text: str) -> Walk:
    return version.walk(items(text))


@pytest.mark.parametrize(
    ("received", "standing", "is_cancelled", "repeats"),
    [
        ("a", 0, False, {}),
        ("a a", 0, False, {1: 0}),
        ("a b", 1, False, {}),
        ("a b b", 1, False, {2: 1}),
        ("a b a", 2, False, {}),
        ("a -", 0, True, {}),
        ("a - -", 0, True, {}),
        ("a - a", 0, True, {2: 0}),
        ("a - b", 2, False, {}),
        ("a - b a", 3, False, {}),
        ("a - a b -", 3, True, {2: 0}),
        ("- a", 1, False, {}),
        ("- a -", 1, True, {}),
    ],
)
def test_the_last_received_wins(received: str, standing: int, *, is_cancelled: bool, repeats: dict[int, int]) -> None:
    found = walked(received)

    assert found.standing is not None
    assert (found.standing.event_no, found.is_cancelled, found.repeats) == (standing, is_cancelled, repeats)


def test_an_id_that_was_only_cancelled_has_nothing_standing() -> None:
    assert walked("- -") == Walk(None, is_cancelled=True, repeats={}, retimed={})


def test_one_row_speaks_for_content_that_arrives_after_its_repeat_was_stored() -> None:
    found = version.walk([*items("a a"), *items("a", first=2, is_new=False)])

    assert found.standing is not None
    assert (found.standing.event_no, found.repeats) == (102, {0: 102, 1: 102})


def test_a_stored_repeat_becomes_a_version_of_its_own_when_something_came_between() -> None:
    [first] = items("a", is_new=False)
    between, [repeat] = items("b", first=1), items("a", first=2, is_new=False)
    repeat = Item(order=repeat.order, digest=repeat.digest, event_no=first.event_no, is_new=False)

    found = version.walk([first, *between, repeat])

    assert found.standing == repeat
    assert found.repeats == {}


def test_content_without_a_timestamp_keeps_the_time_of_what_it_replaces() -> None:
    assert walked("a b*").retimed == {1: 1000}
    assert walked("a b* c* d*").retimed == {1: 1000, 2: 1000, 3: 1000}
    assert walked("a - b*").retimed == {2: 1000}
    assert walked("a*").retimed == {}
    assert walked("- a*").retimed == {}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_arrival_does_not_matter(order: tuple[int, ...]) -> None:
    received = items("a - a")

    assert version.walk(sorted((received[n] for n in order), key=lambda one: one.order)) == version.walk(received)
