"""Whose turn it is at a worker."""

import asyncio

from osteon_imaging.priority_semaphore import PrioritySemaphore, Urgency


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Crowd:
    """Tasks that have their turn until they are told to leave."""

    def __init__(self, places: int) -> None:
        self.turns = PrioritySemaphore(places)
        self.order: list[str] = []
        self.leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, urgency: Urgency) -> None:
        self.leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._be(name, urgency))
        await settled()

    async def _be(self, name: str, urgency: Urgency) -> None:
        async with self.turns.acquire(urgency):
            self.order.append(name)
            await self.leave[name].wait()

    async def go(self, name: str) -> None:
        self.leave[name].set()
        await settled()


async def test_urgent_tasks_go_before_those_that_came_earlier() -> None:
    crowd = Crowd(1)
    await crowd.come("first", Urgency.LATER)
    await crowd.come("later", Urgency.LATER)
    await crowd.come("soon", Urgency.SOON)
    await crowd.come("now", Urgency.NOW)
    await crowd.come("now too", Urgency.NOW)
    for name in ("first", "now", "now too", "soon", "later"):
        await crowd.go(name)
    assert crowd.order == ["first", "now", "now too", "soon", "later"]


async def test_the_last_of_several_places_is_kept_for_urgent_tasks() -> None:
    crowd = Crowd(2)
    await crowd.come("transcoding", Urgency.SOON)
    await crowd.come("another", Urgency.SOON)
    assert crowd.order == ["transcoding"]
    await crowd.come("picture", Urgency.NOW)
    assert crowd.order == ["transcoding", "picture"]
    await crowd.go("transcoding")
    assert crowd.order == ["transcoding", "picture", "another"]
    for name in ("picture", "another"):
        await crowd.go(name)


async def test_who_gives_up_while_waiting_or_at_work_takes_no_place() -> None:
    crowd = Crowd(1)
    await crowd.come("working", Urgency.NOW)
    await crowd.come("waiting", Urgency.NOW)
    await crowd.come("last", Urgency.NOW)
    crowd.tasks["waiting"].cancel()
    await settled()
    crowd.tasks["working"].cancel()
    await settled()
    assert crowd.order == ["working", "last"]
    await crowd.go("last")
    await crowd.come("next", Urgency.LATER)
    assert crowd.order[-1] == "next"
    await crowd.go("next")
