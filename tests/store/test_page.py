"""Pages are cut between two ids, in either direction."""

from uuid import UUID

import msgspec
import pytest

from store.page import Page, both_ways


class Row(msgspec.Struct, frozen=True):
    id: UUID


ROWS = [Row(UUID(int=n)) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("page", "reads_down", "above", "below"),
    [
        (Page(limit=2), True, None, None),
        (Page(limit=2, after=UUID(int=9)), True, None, UUID(int=9)),
        (Page(limit=2, before=UUID(int=9)), False, UUID(int=9), None),
        (Page(limit=2, is_descending=False), False, None, None),
        (Page(limit=2, is_descending=False, after=UUID(int=9)), False, UUID(int=9), None),
        (Page(limit=2, is_descending=False, before=UUID(int=9)), True, None, UUID(int=9)),
    ],
)
def test_a_page_knows_from_where_and_which_way_to_read(
    page: Page, *, reads_down: bool, above: UUID | None, below: UUID | None
) -> None:
    assert (page.reads_down, page.above, page.below, page.fetch_limit) == (reads_down, above, below, 3)


def test_one_row_too_many_says_that_the_list_goes_on() -> None:
    first = Page(limit=2).cut(ROWS, total=7)
    last = Page(limit=3, after=UUID(int=9)).cut(ROWS, total=7)

    assert (first.items, first.has_before, first.has_after, first.total) == (tuple(ROWS[:2]), False, True, 7)
    assert (last.items, last.has_before, last.has_after) == (tuple(ROWS), True, False)


def test_a_page_read_backwards_is_turned_round() -> None:
    listing = Page(limit=2, before=UUID(int=9)).cut(ROWS, total=3)

    assert [row.id.int for row in listing.items] == [2, 1]
    assert (listing.has_before, listing.has_after) == (True, True)


def test_both_ways_differ_in_the_direction_only() -> None:
    assert both_ways("order by id <direction>") == {True: "order by id desc", False: "order by id asc"}
