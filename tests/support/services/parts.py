"""Fixtures that start the real parts once a test run, on free loopback ports, when a test asks for them.

`rabbitmq`, `postgres` and `seaweedfs` are `osteon_local` parts: `rabbitmq.url`; `postgres.url`,
`postgres.create_database()`; `seaweedfs.endpoint`, `.access_key`, `.secret_key`. `database_url` is a fresh, empty
PostgreSQL database for one test, `index_url` one that has the tables of an empty index. A test that kills or pauses a
part must use one of its own (`own_rabbitmq`, ...).
"""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine, text

from osteon.index.sql import SqlIndex
from osteon_local import Postgres, RabbitMQ, SeaweedFS

__all__ = [
    "database_url",
    "index_url",
    "own_postgres",
    "own_rabbitmq",
    "own_seaweedfs",
    "parts_folder",
    "postgres",
    "rabbitmq",
    "reused_index",
    "seaweedfs",
]


@pytest.fixture(scope="session")
def parts_folder() -> Iterator[Path]:
    """A folder for the parts. Not pytest's: PostgreSQL runs as another user when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="osteon-parts-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def rabbitmq(parts_folder: Path) -> Iterator[RabbitMQ]:
    """A broker shared by the whole run."""
    with RabbitMQ(parts_folder / "rabbitmq") as part:
        yield part


@pytest.fixture(scope="session")
def postgres(parts_folder: Path) -> Iterator[Postgres]:
    """A database server shared by the whole run."""
    with Postgres(parts_folder / "postgres") as part:
        yield part


@pytest.fixture(scope="session")
def seaweedfs(parts_folder: Path) -> Iterator[SeaweedFS]:
    """An S3 server shared by the whole run."""
    with SeaweedFS(parts_folder / "seaweedfs") as part:
        yield part


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """SQLAlchemy URL of a database that only this test uses."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


class ReusedIndex:
    """An index in PostgreSQL that is emptied for each test: to make a database takes longer than most tests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = create_engine(url)
        with ThreadPoolExecutor(1) as other_thread:  # a loop may be running in this one
            other_thread.submit(lambda: asyncio.run(self._migrate())).result()
        tables = MetaData()
        with self._engine.begin() as connection:
            tables.reflect(connection)
            self._tables = tables.sorted_tables
            rows = {table: connection.execute(table.select()).mappings().all() for table in self._tables}
            self._sequences = connection.scalars(text("SELECT relname FROM pg_class WHERE relkind = 'S'")).all()
        self._rows = {table: [dict(row) for row in found] for table, found in rows.items() if found}

    async def _migrate(self) -> None:
        index = SqlIndex(self.url)
        await index.start()
        await index.close()

    def empty(self) -> None:
        """Cut off who is still connected, and let the index be as it was made."""
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        with self._engine.begin() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}"))
            for table in reversed(self._tables):
                connection.execute(table.delete())
            for table, rows in self._rows.items():
                connection.execute(table.insert(), rows)
            for name in self._sequences:
                connection.execute(text(f"ALTER SEQUENCE {name} RESTART"))

    def close(self) -> None:
        """Disconnect."""
        self._engine.dispose()


@pytest.fixture(scope="session")
def reused_index(postgres: Postgres) -> Iterator[ReusedIndex]:
    """What `index_url` is of."""
    index = ReusedIndex(postgres.create_database())
    yield index
    index.close()


@pytest.fixture
def index_url(reused_index: ReusedIndex) -> str:
    """SQLAlchemy URL of an empty index that no other test uses now."""
    reused_index.empty()
    return reused_index.url


@pytest.fixture(scope="module")
def own_rabbitmq(parts_folder: Path) -> Iterator[RabbitMQ]:
    """A broker that the tests of one module may kill, pause and start again."""
    with RabbitMQ(Path(tempfile.mkdtemp(dir=parts_folder)) / "rabbitmq") as part:
        yield part


@pytest.fixture(scope="module")
def own_postgres(parts_folder: Path) -> Iterator[Postgres]:
    """A database server that the tests of one module may kill, pause and start again."""
    folder = Path(tempfile.mkdtemp(dir=parts_folder))
    folder.chmod(0o755)
    with Postgres(folder / "postgres") as part:
        yield part


@pytest.fixture(scope="module")
def own_seaweedfs(parts_folder: Path) -> Iterator[SeaweedFS]:
    """An S3 server that the tests of one module may kill, pause and start again."""
    with SeaweedFS(Path(tempfile.mkdtemp(dir=parts_folder)) / "seaweedfs") as part:
        yield part
