"""Retrying with growing pauses: the one way in which a loop of Osteon waits for a part that is down.

async for attempt in retry_forever(BusUnavailable, first=0.2, longest=10.0):
    with attempt:
        await connect()
"""

from collections.abc import AsyncIterator, Callable

import stamina
from stamina import instrumentation

instrumentation.set_on_retry_hooks(())  # each loop logs a failure in its own words


def retry_forever(
    on: type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool], *, first: float, longest: float
) -> AsyncIterator[stamina.Attempt]:
    """Yield attempts until one ends without an error of `on`; other errors leave the loop at once.

    Pauses are in seconds: from `first` on each is twice the last, up to `longest`. A random part of at most `first`
    is added, so that replicas which lost the same part do not come back to it in the same instant.
    """
    context = stamina.retry_context(
        on, attempts=None, timeout=None, wait_initial=first, wait_max=longest, wait_jitter=first
    )
    return aiter(context)
