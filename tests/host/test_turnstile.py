"""A few in each turn of the loop."""

from __future__ import annotations

import asyncio

from meshd.host.turnstile import Turnstile


class Turns:
    """Counts the loop's turns, and who went through in which."""

    def __init__(self, rate: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.turnstile = Turnstile(self.loop, rate)
        self.turn = 0
        self.through: list[tuple[int, int]] = []

    def count(self) -> None:
        self.turn += 1
        self.loop.call_soon(self.count)

    async def go(self, name: int) -> None:
        await self.turnstile.wait()
        self.through.append((name, self.turn))


async def test_they_go_through_in_order_a_few_in_each_turn() -> None:
    turns = Turns(4)
    turns.count()
    await asyncio.gather(*(turns.go(name) for name in range(30)))
    assert [name for name, _ in turns.through] == list(range(30))
    counted = [turn for _, turn in turns.through]
    assert max(counted.count(turn) for turn in counted) == 4


async def test_who_gave_up_takes_nobodys_place() -> None:
    turns = Turns(1)
    tasks = [asyncio.ensure_future(turns.go(name)) for name in range(5)]
    await asyncio.sleep(0)
    for task in tasks[1:4]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [name for name, _ in turns.through] == [0, 4]


async def test_nobody_waits_where_nobody_is() -> None:
    turns = Turns(2)
    await asyncio.wait_for(turns.go(1), 1.0)
    await asyncio.wait_for(turns.go(2), 1.0)
    assert [name for name, _ in turns.through] == [1, 2]
