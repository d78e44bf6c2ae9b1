"""`osteon_local.cluster` and `deploy/local/cluster.py`: the services as processes on the real parts."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from osteon_local.cluster import Cluster, Parts
from osteon_local.part import PartError
from support.parts import Postgres, RabbitMQ, SeaweedFS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
RUNNER = Path(__file__).parents[2] / "deploy" / "local" / "cluster.py"


@pytest.fixture(scope="module")
def running(parts_folder: Path, own_rabbitmq: RabbitMQ, postgres: Postgres, seaweedfs: SeaweedFS) -> Iterator[Cluster]:
    parts = Parts(own_rabbitmq, postgres, seaweedfs, database_url=postgres.create_database(), bucket="own-cluster")
    with Cluster(parts_folder / "own-cluster", parts=parts, replicas={"writer": 2}) as cluster:
        yield cluster


def test_every_replica_is_ready_once_the_cluster_has_started(running: Cluster) -> None:
    assert sorted(running.replicas) == [
        "dispatcher-0", "imaging-0", "indexer-0", "ingress-0", "query-0", "writer-0", "writer-1"
    ]  # fmt: skip
    assert all(replica.ready for replica in running.replicas.values())
    assert httpx.get(f"{running.url}/system", timeout=30).status_code == 200


def test_a_replica_that_was_killed_is_reported_with_its_log_and_can_be_restarted(running: Cluster) -> None:
    running.kill("writer-1")
    with pytest.raises(PartError, match=r"writer-1 ended with status -9 .*writer-1\.log"):
        running.raise_if_dead()
    running.restart("writer-1")
    running.raise_if_dead()
    assert running.replicas["writer-1"].ready


def test_services_drain_and_end_with_status_0_when_asked_to_stop(running: Cluster) -> None:
    for name in ("ingress-0", "query-0", "dispatcher-0", "imaging-0", "indexer-0", "writer-0"):
        process = running.replicas[name].process
        process.stop(grace=30)
        assert process.returncode == 0, f"{name}: {process.tail()}"
        running.restart(name)


def test_a_cluster_of_unknown_services_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="no such service: reader"):
        Cluster(tmp_path, replicas={"reader": 1})


def test_the_runner_prints_its_addresses_and_stops_everything_on_a_signal(parts_folder: Path) -> None:
    data = parts_folder / "runner"
    command = [sys.executable, str(RUNNER), "--data", str(data), "--port-base", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        addresses = json.loads(line)
        for port in addresses["health"].values():
            assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code == 200
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert all(not Path(f"/proc/{pid}").exists() for pid in addresses["pids"].values())


def test_the_runner_says_which_service_could_not_start(parts_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteon_local.cluster.SERVICES", ("writer",))
    cluster = Cluster(parts_folder / "broken", settings={"OSTEON_DRAIN_SECONDS": "soon"})
    try:
        with pytest.raises(PartError, match=r"writer-0 ended with status 2(.|\n)*OSTEON_DRAIN_SECONDS"):
            cluster.start()
    finally:
        cluster.stop()
