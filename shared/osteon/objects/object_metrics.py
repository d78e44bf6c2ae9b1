"""Measures requests to the object store, the same for every kind of store."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from osteon import metrics
from osteon.errors import Invalid, NotFound


@contextmanager
def measured(operation: str) -> Iterator[None]:
    """Measure what is done inside, by operation and result."""
    began = time.perf_counter()
    result = "failed"
    try:
        yield
        result = "ok"
    except (Invalid, NotFound):
        result = "refused"
        raise
    finally:
        metrics.OBJECT_SECONDS.labels(operation, result).observe(time.perf_counter() - began)
