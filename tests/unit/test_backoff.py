"""`osteon.backoff`: pauses that grow between attempts."""

import asyncio

import pytest

from osteon.backoff import retry, retry_forever
from osteon.errors import Invalid, Unavailable


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is waited between attempts, without waiting for it."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return found


async def attempts(*errors: Exception) -> int:
    """Return how many attempts it took, each of which but the last fails."""
    left, made = list(errors), 0
    async for attempt in retry_forever(Unavailable, first=0.1, longest=1.0):
        with attempt:
            made += 1
            if left:
                raise left.pop(0)
    return made


async def test_pauses_grow_from_the_first_to_the_longest(pauses: list[float]) -> None:
    assert await attempts(*[Unavailable("down")] * 40) == 41
    for number, pause in enumerate(pauses):
        least = min(0.1 * 2.0**number, 1.0)
        assert least <= pause <= min(least + 0.1, 1.0), number


async def test_another_error_leaves_the_loop_at_once(pauses: list[float]) -> None:
    with pytest.raises(Invalid):
        await attempts(Unavailable("down"), Invalid("bad"))
    assert len(pauses) == 1


async def test_replicas_do_not_come_back_in_the_same_instant(pauses: list[float]) -> None:
    for _ in range(20):
        await attempts(Unavailable("down"))
    assert len(set(pauses)) > 1


async def test_each_failure_is_reported_before_its_pause_and_no_other_error_is() -> None:
    errors: list[Exception] = [Unavailable("down"), Unavailable("still down"), Invalid("bad")]
    failures: list[Exception] = []
    with pytest.raises(Invalid):
        async for attempt in retry_forever(Unavailable, first=0.0, longest=0.0, failed=failures.append):
            with attempt:
                raise errors[len(failures)]
    assert failures == errors[:2]


async def test_the_last_of_a_few_attempts_raises_its_error(pauses: list[float]) -> None:
    made = 0
    with pytest.raises(Unavailable):
        async for attempt in retry(Unavailable, attempts=4, first=0.1, longest=2.0, factor=4.0):
            with attempt:
                made += 1
                raise Unavailable("down")
    assert made == 4
    for pause, least in zip(pauses, (0.1, 0.4, 1.6), strict=True):
        assert least <= pause <= least + 0.1
