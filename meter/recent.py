"""Which ids were counted lately: a hint, never a verdict. Pure.

    Recent(ids_max=...).among(identities)   those that were learnt lately
    Recent(...).learn(identities)           what a batch held

Ids that are new to the last one can be claimed at a third of the cost, and most repeats are retries, which follow soon.
So a batch is split by what is remembered here. If that was wrong, the batch is claimed the sure way, and the next few
as well: each time it is wrong again, twice as many.
"""

from collections.abc import Collection

_DISTRUST_MAX = 64


class Recent:
    """The ids of the last batches: at least `ids_max`, and at most two batches and twice as many."""

    def __init__(self, *, ids_max: int) -> None:
        self._ids_max = ids_max
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
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

    def among(self, identities: Collection[bytes]) -> set[bytes]:
        """Those of these ids that are remembered."""
        return self._young.intersection(identities) | self._old.intersection(identities)

    def learn(self, identities: Collection[bytes]) -> None:
        """Remember these, and forget the oldest."""
        if len(self._young) >= self._ids_max:
            self._old, self._young = self._young, set()
        self._young.update(identities)
