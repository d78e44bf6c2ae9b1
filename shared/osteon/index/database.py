"""Connections and transactions: errors translated, one writer where there must be one, deadlocks retried."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final, TypeVar

from sqlalchemy import Executable, exc, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from osteon import metrics
from osteon.backoff import retry
from osteon.errors import DatabaseUnavailable, Invalid
from osteon.index.dialect import Dialect, dialect_of

T = TypeVar("T")

ATTEMPTS: Final = 5
_FIRST_PAUSE, _MAX_PAUSE = 0.05, 1.0
"""Seconds between attempts at a transaction."""
CHECK_SECONDS: Final = 3.0
_REPEATABLE: Final = ("40001", "40P01")
"""PostgreSQL's serialization_failure and deadlock_detected."""
_OPERATORS: Final = ("42P01", "42501", "3F000")
"""PostgreSQL's undefined_table, insufficient_privilege, invalid_schema_name: for the operator to fix."""


class RepeatTransaction(Exception):
    """Another writer interfered in a way that a new attempt resolves."""


class Database:
    """The engine of one index and its transactions. Nothing connects before it is used."""

    def __init__(self, url: str, pool: int) -> None:
        try:
            parsed = make_url(url)
        except exc.ArgumentError:
            raise Invalid("the database URL cannot be read: expected postgresql+psycopg://… or sqlite+…") from None
        self.dialect: Final[Dialect] = dialect_of(parsed)
        self._url: Final = parsed
        self._engine: Final[AsyncEngine] = self.dialect.engine(parsed, pool)
        metrics.DATABASE_CONNECTIONS.labels("limit").set(pool)
        self._writing: Final = asyncio.Lock()
        self._probe: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Do what the database needs before its first connection."""
        with _translated():
            await self.dialect.prepare(self._url)

    async def close(self) -> None:
        """Close all connections, and cancel a check that still waits."""
        if self._probe:
            self._probe.cancel()
            await asyncio.wait({self._probe})
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees one state of the database throughout."""
        with _translated():
            async with self._connected("read") as connection:
                await connection.execution_options(**self.dialect.read_options)
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def _connected(self, kind: str) -> AsyncIterator[AsyncConnection]:
        """Open a connection for one transaction, and measure both."""
        requested = time.perf_counter()
        async with self._engine.connect() as connection:
            begun = time.perf_counter()
            metrics.DATABASE_WAIT_SECONDS.observe(begun - requested)
            result = "failed"
            with metrics.DATABASE_CONNECTIONS.labels("used").track_inprogress():
                try:
                    yield connection
                    result = "ok"
                finally:
                    metrics.DATABASE_SECONDS.labels(kind, result).observe(time.perf_counter() - begun)

    async def check(self, statement: Executable) -> None:
        """Raise `DatabaseUnavailable` unless a statement is answered soon.

        A statement to a frozen server cannot be cancelled quickly, so it stays open and no other is sent meanwhile.
        """
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._probe_once(statement))
            self._probe.add_done_callback(lambda probe: probe.cancelled() or probe.exception())
        await asyncio.wait({self._probe}, timeout=CHECK_SECONDS)
        if not self._probe.done():
            raise DatabaseUnavailable(f"the database did not answer within {CHECK_SECONDS} s")
        await self._probe

    async def _probe_once(self, statement: Executable) -> None:
        async with self.read() as connection:
            await connection.execute(statement)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do work in one transaction; after a deadlock or serialization failure all of it again, a few times."""
        try:
            async for attempt in retry(_may_repeat, attempts=ATTEMPTS, first=_FIRST_PAUSE, longest=_MAX_PAUSE):
                with attempt:
                    return await self._write_once(work)
        except (exc.DBAPIError, RepeatTransaction) as error:
            if not _may_repeat(error):
                raise
            raise DatabaseUnavailable(f"gave up after {ATTEMPTS} attempts: {_first_line(error)}") from error
        raise AssertionError("the last attempt returns or raises")

    async def execute(self, statement: Executable) -> int:
        """Execute one statement in a transaction of its own; returns how many rows it changed."""

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self.write(work)

    async def _write_once(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with AsyncExitStack() as stack:
            if self.dialect.one_writer:
                await stack.enter_async_context(self._writing)
            stack.enter_context(_translated(keep=_may_repeat))
            connection = await stack.enter_async_context(self._connected("write"))
            await connection.execution_options(**self.dialect.write_options)
            async with connection.begin():
                return await work(connection)


def _may_repeat(error: BaseException) -> bool:
    if isinstance(error, RepeatTransaction):
        return True
    return isinstance(error, exc.DBAPIError) and getattr(error.orig, "sqlstate", None) in _REPEATABLE


@contextmanager
def _translated(keep: Callable[[BaseException], bool] = lambda _: False) -> Iterator[None]:
    """Turn "the database does not answer" into `DatabaseUnavailable`; a wrong statement stays what it is."""
    try:
        yield
    except exc.DBAPIError as error:
        if keep(error) or not _is_outage(error):
            raise
        raise DatabaseUnavailable(_first_line(error.orig or error)) from error
    except (exc.TimeoutError, OSError) as error:
        raise DatabaseUnavailable(_first_line(error)) from error


def _is_outage(error: exc.DBAPIError) -> bool:
    if error.connection_invalidated or type(error) is exc.DatabaseError:
        return True
    if getattr(error.orig, "sqlstate", None) in _OPERATORS:
        return True
    return isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
