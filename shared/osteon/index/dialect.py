"""Where PostgreSQL and SQLite differ. Everything else of the index is the same for both.

`Dialect` is the interface; `dialect_of` picks one by the URL.
"""

import asyncio
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Table,
    and_,
    any_,
    bindparam,
    column,
    event,
    func,
    select,
    table,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from osteon.byte_caches import ByteCache
from osteon.errors import Invalid
from osteon.index.tables import Bytewise, Moment
from osteon.private_files import make_private

T = TypeVar("T", str, int)

_TRIGRAM = 3

MIGRATION_LOCK = 0x6F73_7465_6F6E_0001
CHANGES_LOCK = 0x6F73_7465_6F6E_0002
"""Keys of PostgreSQL's advisory locks, which share one space per database."""

_STATEMENTS_BYTES: Final = 16 << 20
"""Of memory for compiled statements."""
_STATEMENT_BYTES: Final = 24_000
"""Of memory for a compiled statement besides its text, about."""


class Dialect(ABC):
    """What the two databases do each in its own way."""

    one_writer: bool
    """Transactions that write must come one after the other."""
    read_options: dict[str, Any]
    """Execution options of a transaction that reads."""
    write_options: dict[str, Any]
    """Execution options of a transaction that writes."""
    absent_values_last: bool
    """An index has them behind all others, so that they come first where it is read backwards."""

    @abstractmethod
    async def prepare(self, url: URL) -> None:
        """Make what must be there before the first connection."""

    @abstractmethod
    def engine(self, url: URL, pool: int) -> AsyncEngine:
        """Make an engine of at most `pool` connections."""

    @abstractmethod
    def insert(self, target: Table) -> "postgresql.Insert | sqlite.Insert":
        """Return an INSERT that knows `on_conflict_do_nothing`."""

    @abstractmethod
    def among(self, where: ColumnElement[T], values: Collection[T]) -> ColumnElement[bool]:
        """Return the condition that a column of texts or integers has one of any number of values."""

    @abstractmethod
    async def lock_patients(self, connection: AsyncConnection, public_ids: Collection[bytes]) -> None:
        """Let no one else write to these patients, and what is below them, before this transaction's end."""

    @abstractmethod
    async def lock_changes(self, connection: AsyncConnection) -> None:
        """Let no one else write to the change log before this transaction's end."""

    @abstractmethod
    def now(self) -> ColumnElement[datetime]:
        """Return the time by the clock that all users of this database share."""

    @abstractmethod
    def contains(self, where: ColumnElement[str], what: str) -> ColumnElement[bool]:
        """Return the condition that a column contains a text, with case."""

    @abstractmethod
    def wildcard(self, where: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
        """Return the condition that all of a column fits a pattern of `*` and `?`, with case."""

    @abstractmethod
    def infix(self, names: Table, pattern: str) -> ColumnElement[bool]:
        """Return the condition that a row's `key` fits a pattern that begins with a wildcard, by an index."""


class PostgreSQL(Dialect):
    """PostgreSQL by psycopg. Trigrams (pg_trgm) find the middle of a name."""

    one_writer = False
    read_options = {"isolation_level": "REPEATABLE READ"}
    write_options = {"isolation_level": "READ COMMITTED"}
    absent_values_last = True

    async def prepare(self, url: URL) -> None:
        """Nothing to do: the operator creates the database."""

    def engine(self, url: URL, pool: int) -> AsyncEngine:
        """A peer that is gone is noticed within half a minute; plans are made for the values at hand."""
        engine = create_async_engine(
            url,
            execution_options=_compiled_statements(),
            pool_size=pool,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": 5,
                "keepalives_idle": 15,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 30_000,
                "application_name": "osteon",
            },
        )

        @event.listens_for(engine.sync_engine, "connect")
        def prepare(connection: Any, _: Any) -> None:
            # A generic plan knows no beginning of `LIKE $1` and no width of a date range, and so uses no index.
            # Compiling a plan takes longer than what it saves: a page reads few rows, however many the planner fears.
            with connection.cursor() as cursor:
                cursor.execute("SET plan_cache_mode = force_custom_plan; SET jit = off")
            connection.commit()

        return engine

    def insert(self, target: Table) -> postgresql.Insert:
        """See `Dialect`."""
        return postgresql.insert(target)

    def among(self, where: ColumnElement[T], values: Collection[T]) -> ColumnElement[bool]:
        """One array, whatever the number of values."""
        return where == any_(bindparam(None, list(values), type_=postgresql.ARRAY(where.type)))

    async def lock_patients(self, connection: AsyncConnection, public_ids: Collection[bytes]) -> None:
        """By advisory locks, which patients without a row have too; in one order, so that no two writers cross."""
        keys = sorted({int.from_bytes(public_id[:8], "big", signed=True) for public_id in public_ids})
        each = func.unnest(bindparam(None, keys, type_=postgresql.ARRAY(BigInteger))).column_valued("key")
        await connection.execute(select(func.pg_advisory_xact_lock(each)))

    async def lock_changes(self, connection: AsyncConnection) -> None:
        """By an advisory lock, which PostgreSQL frees after the transaction's rows can be seen."""
        await connection.execute(select(func.pg_advisory_xact_lock(CHANGES_LOCK)))

    def now(self) -> ColumnElement[datetime]:
        """Return the time of the server's clock."""
        return func.clock_timestamp(type_=Moment)

    def contains(self, where: ColumnElement[str], what: str) -> ColumnElement[bool]:
        """See `Dialect`."""
        return func.strpos(where, what) > 0

    def wildcard(self, where: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
        """By LIKE, whose own wildcards are escaped."""
        escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return where.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")

    def infix(self, names: Table, pattern: str) -> ColumnElement[bool]:
        """The trigram index serves LIKE."""
        return self.wildcard(names.c.key, pattern)


class SQLite(Dialect):
    """SQLite by aiosqlite, write-ahead log, durable. FTS5's trigrams find the middle of a name."""

    one_writer = True
    read_options = {}
    write_options = {"begin": "BEGIN IMMEDIATE"}
    absent_values_last = False

    async def prepare(self, url: URL) -> None:
        """Make the folder and the file: for this user only, as it holds passwords of peers."""
        await asyncio.to_thread(_make_private_file, Path(url.database or ""))

    def engine(self, url: URL, pool: int) -> AsyncEngine:
        """Transactions begin as `write_options` say: the driver's own would take the write lock too late."""
        if not url.database or url.database == ":memory:":
            raise Invalid("the SQLite index needs a file: sqlite+aiosqlite:///path")
        engine = create_async_engine(
            url,
            execution_options=_compiled_statements(),
            pool_size=pool,
            max_overflow=0,
            connect_args={"timeout": 30},
        )

        @event.listens_for(engine.sync_engine, "connect")
        def prepare(connection: Any, _: Any) -> None:
            connection.isolation_level = None
            cursor = connection.cursor()
            for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @event.listens_for(engine.sync_engine, "begin")
        def begin(connection: Any) -> None:
            statement = connection.get_execution_options().get("begin")
            if statement:
                connection.exec_driver_sql(statement)
            else:
                # One trip to the driver's thread instead of three; it touches no file, so no error needs translating.
                connection.connection.dbapi_connection.run_async(lambda driver: driver.execute("BEGIN"))

        return engine

    def insert(self, target: Table) -> sqlite.Insert:
        """See `Dialect`."""
        return sqlite.insert(target)

    def among(self, where: ColumnElement[T], values: Collection[T]) -> ColumnElement[bool]:
        """One JSON array: SQLite limits the number of parameters."""
        elements = func.json_each(json.dumps(list(values))).table_valued("value")
        return where.in_(select(elements.c.value))

    async def lock_patients(self, connection: AsyncConnection, public_ids: Collection[bytes]) -> None:
        """Nothing to do: a transaction that writes is alone already."""

    async def lock_changes(self, connection: AsyncConnection) -> None:
        """Nothing to do: a transaction that writes is alone already."""

    def now(self) -> ColumnElement[datetime]:
        """Return the time of this host's clock."""
        return bindparam(None, datetime.now(UTC), type_=Moment)

    def contains(self, where: ColumnElement[str], what: str) -> ColumnElement[bool]:
        """See `Dialect`."""
        return func.instr(where, what) > 0

    def wildcard(self, where: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
        """By GLOB, which is case-sensitive, as LIKE is not; its brackets are escaped."""
        return where.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]"))

    def infix(self, names: Table, pattern: str) -> ColumnElement[bool]:
        """By the full-text table beside the names, for the longest run of letters; it knows none under three."""
        fits = self.wildcard(names.c.key, pattern)
        # FTS5 takes one letter of three bytes for a trigram and then finds nothing: it gets no pattern as it is.
        run = max(re.split(r"[*?\[\]]+", pattern), key=len)
        if len(run) < _TRIGRAM:
            return fits
        index = table(f"{names.name}_fts", column("rowid"), column("key", Bytewise))
        found: Select[Any] = select(index.c.rowid).where(self.wildcard(index.c.key, f"*{run}*"))
        return and_(names.c.id.in_(found), fits)


def _make_private_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))
    for suffix in ("", "-wal", "-shm"):  # SQLite gives new ones the permissions of the first
        make_private(path.with_name(path.name + suffix))


def dialect_of(url: URL) -> Dialect:
    """Return the dialect of a URL; raises `Invalid` for a database that the index does not know."""
    kinds: dict[str, type[Dialect]] = {"postgresql+psycopg": PostgreSQL, "sqlite+aiosqlite": SQLite}
    if url.drivername not in kinds:
        raise Invalid(f"database URL {url.drivername}://…: expected one of {', '.join(f'{k}://…' for k in kinds)}")
    return kinds[url.drivername]()


def upgrade_lock(dialect_name: str) -> Any:
    """Return the statement that lets one process at a time upgrade the schema, None when its transaction does."""
    return text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})") if dialect_name == "postgresql" else None


def _compiled_statements() -> dict[str, Any]:
    """Return the execution option for what SQLAlchemy keeps of statements, which it would bound in number only."""
    kept: ByteCache[Any, Any] = ByteCache(
        "compiled_statements", _STATEMENTS_BYTES, lambda _, compiled: _STATEMENT_BYTES + 4 * len(compiled.string or "")
    )
    return {"compiled_cache": kept}
