"""What was learnt lately is remembered, always; a stranger is taken for it hardly ever."""

import random

import numpy as np
from numpy.typing import NDArray

from meter.recent import Recent
from store.event_key import KEY


def keys(*numbers: int) -> NDArray[np.void]:
    return np.frombuffer(b"".join([number.to_bytes(16, "big") for number in numbers]), KEY)


def test_an_id_is_remembered_until_as_many_others_came_twice() -> None:
    recent = Recent(ids_max=100)
    recent.learn(keys(*range(100)))
    recent.learn(keys(*range(100, 200)))

    assert recent.among(keys(*range(200))).all()

    recent.learn(keys(*range(200, 300)))

    assert recent.among(keys(*range(100, 300))).all()
    assert not recent.among(keys(*range(100))).any()


def test_retries_of_a_few_let_nobody_else_be_forgotten() -> None:
    recent = Recent(ids_max=100)
    recent.learn(keys(*range(50)))
    for _ in range(10):
        recent.learn(keys(*range(50, 100)))

    assert recent.among(keys(*range(100))).all()


def test_few_strangers_are_taken_for_an_acquaintance_whatever_ids_look_like() -> None:
    dice = random.Random(1)  # noqa: S311 - the same every time
    for many in (
        list(range(20_000)),
        [number << 64 for number in range(20_000)],
        [number << 100 for number in range(20_000)],
        [dice.getrandbits(128) for _ in range(20_000)],
    ):
        recent = Recent(ids_max=10_000)
        recent.learn(keys(*many[:10_000]))

        assert recent.among(keys(*many[:10_000])).all()
        assert recent.among(keys(*many[10_000:])).sum() < 200


def test_whoever_was_wrong_again_is_distrusted_for_twice_as_long() -> None:
    recent = Recent(ids_max=1)
    assert recent.is_trusted()

    for batches in (1, 2, 4):
        recent.was_wrong()
        assert [recent.is_trusted() for _ in range(batches + 1)] == [*[False] * batches, True]

    recent.was_right()
    recent.was_wrong()

    assert [recent.is_trusted() for _ in range(2)] == [False, True]
