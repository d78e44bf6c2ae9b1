"""Fixtures for all tests: the real parts, and a running archive in both of its forms."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from xdist.scheduler import LoadGroupScheduling

from osteon_local import Postgres, RabbitMQ, SeaweedFS
from osteon_local.cluster import Cluster, Parts
from support.archive import Archive, Standalone
from support.parts import *  # noqa: F403  (fixtures are found by name)

SOON = {"OSTEON_STABLE_AGE": "3", "OSTEON_BREAKER_SECONDS": "2", "OSTEON_THUMBNAILS_AHEAD": "0"}
"""Settings that let tests wait less."""

SHARED = {
    "archive": "archives",
    "standalone": "archives",
    "cluster": "archives",
    "faulty": "broker",
    "rabbitmq": "broker",
}
"""Fixtures of the whole run, and the process that they are in."""

RUNNING: dict[str, list[Callable[[], object]]] = defaultdict(list)
"""How to stop what was started, by the process that it is in."""

ATTACKS = Path(__file__).parent / "fuzz"
_configure = structlog.configure


def _configure_for_all(**settings: Any) -> None:
    """A logger that is kept as a test set it up would not be heard by the tests behind that one."""
    _configure(**{**settings, "cache_logger_on_first_use": False})


structlog.configure = _configure_for_all


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Attacks take their time. Files that use an archive of the whole run go to one process, which starts it."""
    groups: dict[Path, str] = {}
    for item in items:
        if item.path.is_relative_to(ATTACKS):
            item.add_marker(pytest.mark.slow)
        used = {SHARED[name] for name in getattr(item, "fixturenames", ()) if name in SHARED}
        if used:
            groups[item.path] = min(used | {groups.get(item.path, "broker")})
    for item in items:
        if item.path in groups:
            item.add_marker(pytest.mark.xdist_group(groups[item.path]))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop an archive of the whole run when its last test is over: with xdist there are others behind that."""
    here, then = (each.get_closest_marker("xdist_group") if each else None for each in (item, nextitem))
    if hasattr(item.config, "workerinput") and here is not None and (then is None or then.args != here.args):
        for stop in RUNNING.pop(here.args[0], []):
            stop()


class Processes(LoadGroupScheduling):  # type: ignore[misc]
    """What has no group goes to the processes file by file."""

    def _split_scope(self, nodeid: str) -> str:
        return str(super()._split_scope(nodeid)).partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Processes:
    """Let `Processes` say which process runs what."""
    return Processes(config, log)


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A standalone archive shared by the whole run: tests use UIDs of their own or are content with any."""
    process = Standalone(tmp_path_factory.mktemp("standalone") / "data", **SOON)
    RUNNING[SHARED["standalone"]].append(process.stop)
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
        RUNNING[SHARED["cluster"]].append(running.stop)
        yield Archive(running.dicom_port, running.url)


@pytest.fixture(scope="session")
def faulty(parts_folder: Path) -> Iterator[Cluster]:
    """A cluster on parts of its own, whose processes tests may kill, freeze and stop, and bring back."""
    folder = parts_folder / "faulty"
    replicas = {"ingress": 2, "writer": 2, "indexer": 2, "dispatcher": 2}
    settings = {
        "OSTEON_LOG_FORMAT": "json",
        "OSTEON_PACK_SECONDS": "0.2",
        "OSTEON_INDEX_WAIT": "20",
        "OSTEON_JOB_LEASE": "3",
    }
    with Cluster(folder, parts=Parts.in_folder(folder), replicas=replicas, settings=settings) as running:
        RUNNING[SHARED["faulty"]].append(running.stop)
        yield running


@pytest.fixture(scope="session", params=["standalone", "cluster"])
def archive(request: pytest.FixtureRequest) -> Archive:
    """The archive in each of its forms."""
    found: Archive = request.getfixturevalue(request.param)
    return found
