"""A service on given ports."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from osteon.runtime import Running
from osteon.service_stack import service_stack


@asynccontextmanager
async def embedded(
    build_embedded: Callable[..., Awaitable[Running]], settings: Any, **ports: Any
) -> AsyncIterator[Running]:
    """Run it; the ports stay the caller's."""
    async with service_stack() as stack:
        yield await build_embedded(settings, stack, **ports)
