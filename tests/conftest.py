"""Fixtures for all tests: the real parts, and a running archive in both of its forms."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import structlog
from xdist.scheduler import LoadFileScheduling

from osteon_local import Postgres, RabbitMQ, SeaweedFS
from osteon_local.cluster import Cluster, Parts
from support.archive.running import RunningArchive, StandaloneProcess
from support.services.parts import *  # noqa: F403  (fixtures are found by name)
from support.steady_loop import SteadyEventLoop

SOON = {"OSTEON_STABLE_AGE_SECONDS": "3", "OSTEON_BREAKER_SECONDS": "2", "OSTEON_PREFETCH_THUMBNAILS": "0"}
"""Settings that let tests wait less."""

GROUPS = "osteon/xdist_groups"
"""Key of pytest's cache: the group of each file whose tests have the marker `xdist_group`."""

LONG = tuple(Path(__file__).parent / folder for folder in ("fuzz", "deploy", "unit/cli/scu"))
"""Folders of attacks, and of what needs other programs."""
_configure = structlog.configure


def _configure_for_all(**settings: Any) -> None:
    """A logger that is kept as a test set it up would not be heard by the tests behind that one."""
    _configure(**{**settings, "cache_logger_on_first_use": False})


structlog.configure = _configure_for_all


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave to `make test` what takes its time, without reading it."""
    return True if config.option.markexpr == "not slow" and collection_path in LONG else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note which files have the marker `xdist_group`: the process that gives them out collects none itself."""
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
        marked = {item.nodeid.partition("::")[0]: item.get_closest_marker("xdist_group") for item in items}
        config.cache.set(GROUPS, {file: marker.args[0] for file, marker in marked.items() if marker})


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Let no time-out of a test depend on when the machine had time for it."""
    return {"steady": SteadyEventLoop}


class FileGroupScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Gives whole files to processes, those of one `xdist_group` to the same one.

    xdist's own `--dist loadgroup` does not: it writes groups into node ids, which pytest 9 does not let change.
    """

    @cached_property
    def _groups(self) -> dict[str, str]:
        return dict(self.config.cache.get(GROUPS, {}))

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return self._groups.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileGroupScheduling:
    """Let `FileGroupScheduling` say which process runs what."""
    return FileGroupScheduling(config, log)


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """A standalone archive shared by the whole run: tests use UIDs of their own or are content with any."""
    process = StandaloneProcess(tmp_path_factory.mktemp("standalone") / "data", **SOON)
    yield process.start()
    process.stop()


@pytest.fixture(scope="session")
def cluster(parts_folder: Path, postgres: Postgres, seaweedfs: SeaweedFS) -> Iterator[RunningArchive]:
    """Every service as its own process, on RabbitMQ, PostgreSQL and SeaweedFS, shared by the whole run."""
    # Queues have fixed names: on a shared broker its services would take the messages of other tests.
    folder = parts_folder / "cluster"
    broker = RabbitMQ(folder / "rabbitmq")
    parts = Parts(broker, postgres, seaweedfs, database_url=postgres.create_database(), bucket="cluster")
    with Cluster(folder, parts=parts, replicas={"dispatcher": 2}, settings=SOON) as running:
        yield RunningArchive(running.dicom_port, running.url)


@pytest.fixture(scope="session")
def faulty(parts_folder: Path) -> Iterator[Cluster]:
    """A cluster on parts of its own, whose processes tests may kill, freeze and stop, and bring back."""
    folder = parts_folder / "faulty"
    replicas = {"ingress": 2, "writer": 2, "indexer": 2, "dispatcher": 2}
    settings = {
        "OSTEON_LOG_FORMAT": "json",
        "OSTEON_PACK_SECONDS": "0.2",
        "OSTEON_UPLOAD_INDEX_TIMEOUT_SECONDS": "20",
        "OSTEON_JOB_LEASE_SECONDS": "3",
    }
    with Cluster(folder, parts=Parts.in_folder(folder), replicas=replicas, settings=settings) as running:
        yield running


@pytest.fixture(scope="session", params=["standalone", "cluster"])
def archive(request: pytest.FixtureRequest) -> RunningArchive:
    """The archive in each of its forms."""
    found: RunningArchive = request.getfixturevalue(request.param)
    return found
