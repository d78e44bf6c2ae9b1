"""Fixtures that start the real parts once a test run, on free loopback ports, when a test asks for them.

`rabbitmq`, `postgres` and `seaweedfs` are `osteon_local` parts: `rabbitmq.url`; `postgres.url`,
`postgres.create_database()`; `seaweedfs.endpoint`, `.access_key`, `.secret_key`. `database_url` is a fresh, empty
PostgreSQL database for one test. A test that kills or pauses a part must use one of its own (`own_rabbitmq`, ...).
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from osteon_local import Postgres, RabbitMQ, SeaweedFS

__all__ = [
    "database_url",
    "own_postgres",
    "own_rabbitmq",
    "own_seaweedfs",
    "parts_folder",
    "postgres",
    "rabbitmq",
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
