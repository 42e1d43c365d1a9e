"""What one metric counted of many events, as columns, until it is added up by place. Pure.

    tally.add(Addends(...), sign=)      events that were counted, one after the other; nothing is added up yet
    tally.cells() -> (alias, slot, group), events, total for each place where anything was counted

Adding up is done once, for all events of a batch. Sums are exact: in 64 bits as long as they fit, in Python's integers
and decimals else.
"""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from rating import number
from store.cell import Sum, add

Integers: TypeAlias = NDArray[np.int64]
# Alias number, quarter hour and group: 0 where nothing is grouped, else its text.
Place: TypeAlias = tuple[int, int, int | str]

# What a sum of 64 bits may come to, with a bit to spare.
_SUM_MAX = 1 << 62
# Places for all numbers that may be there cost less than to sort those that are, up to so many for each of these.
_DENSE_SHARE = 2
_DENSE_MIN, _DENSE_MAX = 64, 1 << 18


class Addends(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Events that were counted: alias numbers, quarter hours, what each adds, and its group as a place among the texts.

    `values` is None where it only matters how many there are; there are no texts where nothing is grouped.
    """

    aliases: NDArray[np.int32]
    slots: Integers
    values: Sequence[Sum] | None
    groups: Integers
    texts: Sequence[str]


class Tally:
    """Of one metric of one account."""

    def __init__(self) -> None:
        self._aliases: list[NDArray[np.int32]] = []
        self._slots: list[Integers] = []
        self._groups: list[Integers] = []
        self._texts: dict[str, int] = {}
        self._values: list[Integers | Sequence[Sum]] = []
        self._signs: list[int] = []

    def add(self, addends: Addends, *, sign: int) -> None:
        """Count these as well, or with sign -1 no more."""
        numbers = [self._texts.setdefault(text, len(self._texts)) for text in addends.texts]
        self._aliases.append(addends.aliases)
        self._slots.append(addends.slots)
        self._groups.append(np.array(numbers, np.int64)[addends.groups] if numbers else addends.groups)
        self._signs.append(sign)
        if addends.values is not None:
            self._values.append(_small(addends.values))

    def cells(self) -> Iterator[tuple[Place, int, Sum | None]]:
        """How many events there were at each place, and what they add up to; None: nothing is summed."""
        aliases, alias_at = _numbered(np.concatenate(self._aliases).astype(np.int64))
        slots, slot_at = np.unique(np.concatenate(self._slots), return_inverse=True)
        width = max(len(self._texts), 1)
        # A batch has a million events at most, so the product of three of its numbers fits.
        names, places = _numbered((alias_at * len(slots) + slot_at) * width + np.concatenate(self._groups))
        # Only the places where something is.
        is_there = np.bincount(places, minlength=len(names)) > 0
        names, places = names[is_there], (is_there.cumsum() - 1)[places]
        signs = np.array(self._signs, np.int64).repeat(list(map(len, self._aliases)))
        totals: Sequence[Any] = self._sums(places, signs, len(names)) if self._values else [None] * len(names)
        both, groups = np.divmod(names, width)
        at, slot_of = np.divmod(both, max(len(slots), 1))
        texts = [*self._texts]
        named: Any = map(texts.__getitem__, groups.tolist()) if texts else repeat(0, len(groups))
        return zip(
            zip(aliases[at].tolist(), slots[slot_of].tolist(), named, strict=True),
            _summed(places, signs, len(names)).tolist(),
            totals,
            strict=True,
        )

    def _sums(self, places: Integers, signs: Integers, size: int) -> Sequence[Sum]:
        """The sum at each place."""
        values = [one for one in self._values if isinstance(one, np.ndarray)]
        if len(values) == len(self._values):
            column = np.concatenate(values)
            # 64 bits with a sign have no opposite of the smallest; _small leaves it out.
            if int(np.abs(column).max(initial=0)) * len(column) < _SUM_MAX:
                sums: list[Sum] = _summed(places, signs * column, size).tolist()
                return sums
        totals: list[Any] = [0] * size
        every = (value for some in self._values for value in (some.tolist() if isinstance(some, np.ndarray) else some))
        for place, sign, value in zip(places.tolist(), signs.tolist(), every, strict=True):
            # Never with an operator, not even a sign: that would round to the ambient precision.
            totals[place] = add(totals[place], value) if sign > 0 else number.subtract(totals[place], value)
        return totals


def _numbered(numbers: Integers) -> tuple[Integers, Integers]:
    """Numbers that may be among these, in order, and where among them each stands."""
    if not len(numbers):
        return numbers, numbers
    first, last = int(numbers.min()), int(numbers.max())
    if last - first < min(_DENSE_MIN + _DENSE_SHARE * len(numbers), _DENSE_MAX):
        return np.arange(first, last + 1), numbers - first
    found, at = np.unique(numbers, return_inverse=True)
    return found, at


def _summed(places: Integers, values: Integers, size: int) -> Integers:
    sums = np.zeros(size, np.int64)
    np.add.at(sums, places, values)
    return sums


def _small(values: Sequence[Sum]) -> Integers | Sequence[Sum]:
    """As a column, if all are integers that fit."""
    if not values or ({*map(type, values)} == {int} and max(values) < _SUM_MAX and min(values) > -_SUM_MAX):
        return np.array(values, np.int64)
    return values
