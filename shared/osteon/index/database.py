"""Connections and transactions: errors translated, one writer where there must be one, deadlocks tried again."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final, TypeVar

from sqlalchemy import exc, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from osteon.errors import Invalid
from osteon.index.dialect import Dialect, dialect_of
from osteon.index.port import IndexUnavailable

T = TypeVar("T")

ATTEMPTS: Final = 5
_REPEATABLE: Final = ("40001", "40P01")
"""PostgreSQL's serialization_failure and deadlock_detected."""


class RepeatTransaction(Exception):
    """Another writer was faster in a way that a new attempt resolves."""


class Database:
    """The engine of one index and its transactions. Nothing connects before it is used."""

    def __init__(self, url: str, pool: int) -> None:
        try:
            parsed = make_url(url)
        except exc.ArgumentError:
            raise Invalid("the database URL can not be read: expected postgresql+psycopg://… or sqlite+…") from None
        self.dialect: Final[Dialect] = dialect_of(parsed)
        self._engine: Final[AsyncEngine] = self.dialect.engine(parsed, pool)
        self._writing: Final = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees one state of the database throughout."""
        with _translated():
            async with self._engine.connect() as connection:
                await connection.execution_options(**self.dialect.read_options)
                async with connection.begin():
                    yield connection

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do work in one transaction; after a deadlock or serialization failure all of it again, a few times."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._write_once(work)
            except (exc.DBAPIError, RepeatTransaction) as error:
                if not _may_repeat(error):
                    raise
                if attempt == ATTEMPTS:
                    raise IndexUnavailable(f"gave up after {ATTEMPTS} attempts: {_first_line(error)}") from error
            await asyncio.sleep(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311 - no secret
        raise AssertionError("not reached")

    async def _write_once(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with AsyncExitStack() as stack:
            if self.dialect.one_writer:
                await stack.enter_async_context(self._writing)
            stack.enter_context(_translated(keep=_may_repeat))
            connection = await stack.enter_async_context(self._engine.connect())
            await connection.execution_options(**self.dialect.write_options)
            async with connection.begin():
                return await work(connection)


def _may_repeat(error: BaseException) -> bool:
    if isinstance(error, RepeatTransaction):
        return True
    return isinstance(error, exc.DBAPIError) and getattr(error.orig, "sqlstate", None) in _REPEATABLE


def _never(_: BaseException) -> bool:
    return False


@contextmanager
def _translated(keep: Callable[[BaseException], bool] = _never) -> Iterator[None]:
    """Turn "the database does not answer" into `IndexUnavailable`; a wrong statement stays what it is."""
    try:
        yield
    except exc.DBAPIError as error:
        if keep(error) or not _is_outage(error):
            raise
        raise IndexUnavailable(_first_line(error.orig or error)) from error
    except (exc.TimeoutError, OSError) as error:
        raise IndexUnavailable(_first_line(error)) from error


def _is_outage(error: exc.DBAPIError) -> bool:
    outages = (exc.OperationalError, exc.InterfaceError, exc.InternalError)
    return error.connection_invalidated or isinstance(error, outages) or type(error) is exc.DatabaseError


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
