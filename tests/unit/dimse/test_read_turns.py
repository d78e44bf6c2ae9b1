"""Connections with much to process take turns, one in each round of the loop."""

import asyncio

from osteon.dimse.read_turns import ROUND_STEPS, ReadTurns


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_connection_proceeds_in_each_round_and_the_next_one_then() -> None:
    turns, order = ReadTurns(asyncio.get_running_loop(), 8), list[str]()

    def again(name: str) -> None:
        order.append(name)
        if order.count(name) < 3:
            turns.wait(lambda: again(name))

    for name in "abc":
        turns.wait(lambda name=name: again(name))
    await rounds(1)
    assert order == ["a"]
    await rounds(4)
    assert "".join(order) == "abcab"
    await rounds(10)
    assert "".join(order) == "abcabcabc"


async def test_a_connection_that_fails_does_not_keep_the_others_waiting() -> None:
    loop, failures, order = asyncio.get_running_loop(), list[object](), list[str]()
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    turns = ReadTurns(loop, 8)

    def fail() -> None:
        raise ValueError("broken")

    turns.wait(fail)
    turns.wait(lambda: order.append("next"))
    await rounds(3)
    assert order == ["next"]
    assert len(failures) == 1


async def test_what_all_may_take_in_a_round_is_limited_until_the_next_turn() -> None:
    turns = ReadTurns(asyncio.get_running_loop(), 8)
    turns.spend(ROUND_STEPS - 1)
    assert not turns.crowded
    turns.spend(1)
    assert turns.crowded
    turns.wait(lambda: None)
    await rounds(2)
    assert not turns.crowded


async def test_what_was_taken_some_time_ago_does_not_count() -> None:
    turns = ReadTurns(asyncio.get_running_loop(), 8)
    turns.spend(ROUND_STEPS - 1)
    await asyncio.sleep(0.1)
    turns.spend(2)
    assert not turns.crowded
