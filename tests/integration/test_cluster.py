"""`osteon_local.cluster` and `deploy/local/cluster.py`: the services as processes on the real parts."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from osteon_local.cluster import Cluster, Parts
from osteon_local.part import PartError
from support.archive.running import RunningArchive, eventually
from support.dicom.datasets import ct_slice, saved
from support.services.parts import Postgres, RabbitMQ, SeaweedFS
from support.services.trace_collector import CollectedSpan, TraceCollector, collecting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CT = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
RUNNER = Path(__file__).parents[2] / "deploy" / "local" / "cluster.py"


@pytest.fixture(scope="module")
def collector() -> Iterator[TraceCollector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def running(
    parts_folder: Path, own_rabbitmq: RabbitMQ, postgres: Postgres, seaweedfs: SeaweedFS, collector: TraceCollector
) -> Iterator[Cluster]:
    parts = Parts(own_rabbitmq, postgres, seaweedfs, database_url=postgres.create_database(), bucket="own-cluster")
    settings = {"OSTEON_DRAIN_SECONDS": "60", "OSTEON_PACK_SECONDS": "60"}
    settings |= {"OSTEON_TRACING_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with Cluster(parts_folder / "own-cluster", parts=parts, replicas={"writer": 2}, settings=settings) as cluster:
        yield cluster


def test_every_replica_is_ready_once_the_cluster_has_started(running: Cluster) -> None:
    assert sorted(running.replicas) == [
        "dispatcher-0", "imaging-0", "indexer-0", "ingress-0", "query-0", "writer-0", "writer-1"
    ]  # fmt: skip
    assert all(replica.ready for replica in running.replicas.values())
    assert httpx.get(f"{running.url}/system", timeout=30).status_code == 200


def test_an_association_is_one_trace_and_the_counters_of_all_services_agree_about_it(
    running: Cluster, collector: TraceCollector, tmp_path: Path
) -> None:
    files = [saved(ct_slice(study="1.2.77", series="1.2.77.1", number=n), tmp_path) for n in range(5)]
    assert RunningArchive(running.dicom_port, running.url).send(files) == [0] * 5

    def ways() -> list[list[tuple[str, str]]]:
        by_id = {span.id: span for span in collector.spans}
        found = [way_of(span, by_id) for span in collector.spans if span.name == "process PackIndexed"]
        return [way for way in found if ("", "not there yet") not in way]

    assert eventually(ways) == [
        [
            ("osteon-ingress", "association"),
            ("osteon-ingress", "pack sealed"),
            ("osteon-writer", "process PackSealed"),
            ("osteon-indexer", "process PackStored"),
            ("osteon-dispatcher", "process PackIndexed"),
        ]
    ]
    counters = {
        "osteon_received_instances_total": 5,
        "osteon_packs_sealed_total": 1,
        "osteon_packs_stored_total": 1,
        "osteon_indexed_instances_total": 5,
        "osteon_ingest_lag_seconds_count": 1,
        'osteon_queue_wait_duration_seconds_count{queue="indexer"}': 1,
        'osteon_queue_wait_duration_seconds_count{queue="dispatcher.indexed"}': 1,
    }
    assert {name: counted(running, name) for name in counters} == counters


def way_of(span: CollectedSpan, by_id: Mapping[str, CollectedSpan]) -> list[tuple[str, str]]:
    """Return services and names from the first span of the trace down to this one."""
    if not span.parent:
        return [(span.service, span.name)]
    above = by_id.get(span.parent)
    return [*(way_of(above, by_id) if above else [("", "not there yet")]), (span.service, span.name)]


def counted(cluster: Cluster, name: str) -> float:
    """Return the sum over all replicas."""
    pages = [httpx.get(f"http://127.0.0.1:{r.health_port}/metrics").text for r in cluster.replicas.values()]
    lines = [line for page in pages for line in page.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


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


def test_a_pod_lets_an_association_end_and_its_spool_is_empty_before_the_writer_is_stopped(
    running: Cluster, tmp_path: Path
) -> None:
    """As k8s/base/ingress.yaml has it: `osteon wait-drained` holds up the end of the writer."""
    archive = RunningArchive(running.dicom_port, running.url)
    files = [saved(ct_slice(number=number), tmp_path) for number in range(1, 7)]
    before = archive.get("/statistics").json()["CountInstances"]
    with archive.association(CT) as association:
        assert [association.send_c_store(path).Status for path in files[:3]] == [0] * 3
        ingress = running.replicas["ingress-0"].process
        os.kill(ingress.pid, signal.SIGTERM)
        hook = drained(running)
        eventually(lambda: is_closed(running.dicom_port))
        assert [association.send_c_store(path).Status for path in files[3:]] == [0] * 3
        assert hook.poll() is None, "nobody may stop the writer while an association is open"
    assert hook.wait(60) == 0, "the spool did not become empty"
    eventually(lambda: ingress.returncode == 0)
    assert list((running.data / "spool").glob("*/*.tar*")) == []
    eventually(lambda: archive.get("/statistics").json()["CountInstances"] == before + 6)
    running.restart("ingress-0")


def drained(cluster: Cluster) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "osteon.cli", "wait-drained", "--timeout", "100"]
    return subprocess.Popen(command, env=cluster.environment())


def is_closed(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


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


def test_the_runner_says_which_service_could_not_start(
    running: Cluster, parts_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osteon_local.cluster.SERVICES", ("writer",))
    cluster = Cluster(parts_folder / "broken", parts=running.parts, settings={"OSTEON_DRAIN_SECONDS": "soon"})
    try:
        with pytest.raises(PartError, match=r"writer-0 ended with status 2(.|\n)*OSTEON_DRAIN_SECONDS"):
            cluster.start()
    finally:
        cluster.stop()
