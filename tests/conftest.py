"""Fixtures for all tests: the real parts, and a running archive in both of its forms."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from osteon_local import Postgres, RabbitMQ, SeaweedFS
from osteon_local.cluster import Cluster, Parts
from support.archive import Archive, Standalone
from support.parts import *  # noqa: F403  (fixtures are found by name)

SOON = {"OSTEON_STABLE_AGE": "3", "OSTEON_BREAKER_SECONDS": "2", "OSTEON_THUMBNAILS_AHEAD": "0"}
"""Settings that let tests wait less."""

ATTACKS = Path(__file__).parent / "fuzz"
_configure = structlog.configure


def _configure_for_all(**settings: Any) -> None:
    """A logger that is kept as a test set it up would not be heard by the tests behind that one."""
    _configure(**{**settings, "cache_logger_on_first_use": False})


structlog.configure = _configure_for_all


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Attacks take their time."""
    for item in items:
        if item.path.is_relative_to(ATTACKS):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A standalone archive shared by the whole run: tests use UIDs of their own or are content with any."""
    process = Standalone(tmp_path_factory.mktemp("standalone") / "data", **SOON)
    yield process.start()
    process.stop()


@pytest.fixture(scope="session")
def cluster(parts_folder: Path, postgres: Postgres, seaweedfs: SeaweedFS) -> Iterator[Archive]:
    """Every service as its own process, on RabbitMQ, PostgreSQL and SeaweedFS, shared by the whole run."""
    # Queues have fixed names: on a shared broker its services would take the messages of other tests.
    folder = parts_folder / "cluster"
    broker = RabbitMQ(folder / "rabbitmq")
    parts = Parts(broker, postgres, seaweedfs, database_url=postgres.create_database(), bucket="cluster")
    with Cluster(folder, parts=parts, replicas={"dispatcher": 2}, settings=SOON) as running:
        yield Archive(running.dicom_port, running.url)


@pytest.fixture(scope="session", params=["standalone", "cluster"])
def archive(request: pytest.FixtureRequest) -> Archive:
    """The archive in each of its forms."""
    found: Archive = request.getfixturevalue(request.param)
    return found
