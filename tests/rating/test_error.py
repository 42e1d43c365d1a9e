"""Errors: each has a code of its own, a message that says what is wrong, and the place where it happened."""

import pytest

from rating import error
from rating.error import InvalidTiers, NothingDue, RatingError, UnsupportedTerms

TREE = [item for item in vars(error).values() if isinstance(item, type) and issubclass(item, RatingError)]


def test_codes_are_distinct():
    codes = [item.code for item in TREE]

    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", TREE)
def test_the_docstring_is_the_default_message_and_the_tree_is_drawn(kind):
    assert str(kind()) == kind.__doc__
    assert kind.__name__ in (error.__doc__ or "")


def test_a_detail_replaces_the_default_message():
    refused = InvalidTiers("no tiers", key="structure.tiers")

    assert str(refused) == "no tiers"
    assert refused.key == "structure.tiers"


def test_the_place_stands_before_the_message():
    refused = NothingDue("nothing").at(price_id="p").at(schedule_id="s")

    assert str(refused) == "schedule s, price p: nothing"


def test_the_innermost_place_stays():
    assert UnsupportedTerms("x").at(price_id="inner").at(price_id="outer").price_id == "inner"
