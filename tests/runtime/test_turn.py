import asyncio

import pytest

from runtime.turn import Turns


async def test_what_fits_into_a_turn_works_at_once() -> None:
    turns = Turns(room=10)
    tasks = [asyncio.create_task(turns.take(size)) for size in (4, 6)]

    await asyncio.sleep(0)

    assert all(task.done() for task in tasks)


@pytest.mark.parametrize(("sizes", "turns_taken"), [([4, 6, 5, 5, 1], 3), ([11, 1, 11], 3), ([0, 0, 0], 1)])
async def test_a_turn_takes_what_it_has_room_for_in_the_order_of_arrival(sizes: list[int], turns_taken: int) -> None:
    turns = Turns(room=10)
    order: list[int] = []
    seen: set[int] = set()
    ticks = 0

    async def work(number: int) -> None:
        await turns.take(sizes[number])
        order.append(number)
        seen.add(ticks)

    tasks = [asyncio.create_task(work(number)) for number in range(len(sizes))]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        ticks += 1

    assert order == list(range(len(sizes)))
    assert len(seen) == turns_taken


async def test_light_work_has_every_turn() -> None:
    turns = Turns(room=1)
    worked: list[int] = []
    tasks = [asyncio.create_task(_heavy(turns, worked)) for _ in range(20)]

    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert 1 <= len(worked) <= 3
    await asyncio.gather(*tasks)
    assert len(worked) == 20


async def test_who_gives_up_waiting_takes_no_room() -> None:
    turns = Turns(room=1)
    worked: list[int] = []
    _, second, third = (asyncio.create_task(_heavy(turns, worked)) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()

    await asyncio.wait_for(third, 1)

    assert second.cancelled()
    assert len(worked) == 2


async def _heavy(turns: Turns, worked: list[int]) -> None:
    await turns.take(1)
    worked.append(1)
