"""Retrying with growing pauses: the one way in which a loop of Osteon waits for a part that is down.

async for attempt in retry_forever(BusUnavailable, first=0.2, longest=10.0):
    with attempt:
        await connect()

A loop that looks at something periodically, or whose pause another event ends, has its own.
"""

from collections.abc import AsyncIterator, Callable

import stamina
from stamina import instrumentation

Attempt = stamina.Attempt
Retryable = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]

instrumentation.set_on_retry_hooks(())  # each loop logs a failure in its own words


def retry_forever(
    on: Retryable, *, first: float, longest: float, failed: Callable[[Exception], object] | None = None
) -> AsyncIterator[Attempt]:
    """Yield attempts until one ends without an error of `on`; other errors leave the loop at once.

    Pauses are in seconds: from `first` on each is twice the last, up to `longest`. A random part of at most `first`
    is added, so that replicas which lost the same part do not come back to it in the same instant. `failed` is called
    with each error of `on`, before the pause.
    """
    return _attempts(_reporting(on, failed) if failed else on, None, first=first, longest=longest, factor=2.0)


def retry(on: Retryable, *, attempts: int, first: float, longest: float, factor: float = 2.0) -> AsyncIterator[Attempt]:
    """Like `retry_forever` with at most so many attempts, the last of which raises its error."""
    return _attempts(on, attempts, first=first, longest=longest, factor=factor)


def _attempts(
    on: Retryable, attempts: int | None, *, first: float, longest: float, factor: float
) -> AsyncIterator[Attempt]:
    context = stamina.retry_context(
        on,
        attempts=attempts,
        timeout=None,
        wait_initial=first,
        wait_max=longest,
        wait_jitter=first,
        wait_exp_base=factor,
    )
    return aiter(context)


def _reporting(on: Retryable, failed: Callable[[Exception], object]) -> Callable[[Exception], bool]:
    def is_retryable(error: Exception) -> bool:
        found = isinstance(error, on) if isinstance(on, type | tuple) else on(error)
        if found:
            failed(error)
        return found

    return is_retryable
