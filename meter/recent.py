"""Which ids were counted lately: a hint, never a verdict. Pure.

    Recent(ids_max=...).among(keys)     whether each of these was learnt lately
    Recent(...).learn(keys)             what a batch held

Ids that are new to the last one can be claimed at a third of the cost, and most repeats are retries, which follow soon.
So a batch is split by what is remembered here. If that was wrong, the batch is claimed the sure way, and the next few
as well: each time it is wrong again, twice as many.

A key is remembered as one bit of a table: it is never forgotten too soon, and at most one stranger of fifty is taken
for an acquaintance, which costs that one its short cut. Accounts make no difference here, for the same price.
"""

import numpy as np
from numpy.typing import NDArray

_DISTRUST_MAX = 64
# So few strangers share a bit with somebody that the sure way for them costs next to nothing.
_BITS_PER_ID = 256
# Odd numbers without a pattern, which spread keys of any pattern over the table.
_UPPER, _LOWER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


class Recent:
    """The ids of the last batches: at least `ids_max`, and at most two batches and twice as many."""

    def __init__(self, *, ids_max: int) -> None:
        self._ids_max = ids_max
        bits = (ids_max * _BITS_PER_ID - 1).bit_length()
        self._shift = np.uint64(64 - bits)
        self._young = np.zeros(1 << bits >> 3, np.uint8)
        self._old = np.zeros_like(self._young)
        self._learnt = 0
        self._distrust = 1
        self._batches_left = 0

    def is_trusted(self) -> bool:
        """Whether to go by it for the next batch."""
        self._batches_left = max(0, self._batches_left - 1)
        return self._batches_left == 0

    def was_wrong(self) -> None:
        """An id was known that is not remembered."""
        self._batches_left = self._distrust + 1
        self._distrust = min(2 * self._distrust, _DISTRUST_MAX)

    def was_right(self) -> None:
        """No such id."""
        self._distrust = 1

    def among(self, keys: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of these keys are remembered."""
        places, bits = self._bits(keys)
        found: NDArray[np.bool_] = ((self._young[places] | self._old[places]) & bits) != 0
        return found

    def learn(self, keys: NDArray[np.void]) -> None:
        """Remember these, and forget the oldest."""
        if self._learnt >= self._ids_max:
            self._old, self._young = self._young, self._old
            self._young[:] = 0
            self._learnt = 0
        places, bits = self._bits(keys)
        self._learnt += int((self._young[places] & bits == 0).sum())
        np.bitwise_or.at(self._young, places, bits)

    def _bits(self, keys: NDArray[np.void]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """The byte and the bit of each key."""
        halves = keys.view(np.uint64).reshape(-1, 2)
        mixed = (halves[:, 0] * _UPPER ^ halves[:, 1]) * _LOWER >> self._shift
        return mixed >> np.uint64(3), np.left_shift(np.uint8(1), (mixed & np.uint64(7)).astype(np.uint8))
