"""Work beside a service ends with it."""

import asyncio

import structlog

from osteon.background import background


async def test_work_is_cancelled_and_waited_for() -> None:
    events = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            events.append(name)

    async with background(work("a"), work("b")) as tasks:
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
    assert events == ["a", "b"]


async def test_work_that_fails_is_logged_at_once_and_hurts_nothing_else() -> None:
    async def work() -> None:
        raise RuntimeError("broken")

    with structlog.testing.capture_logs() as logs:
        async with background(work()) as (task,):
            await asyncio.wait({task})
            await asyncio.sleep(0)
            assert [(entry["event"], entry["log_level"]) for entry in logs] == [("background task failed", "error")]
            assert "work" in logs[0]["task"]
