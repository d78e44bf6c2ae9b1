"""docker-compose.yml in containers: everything comes up, works, survives, grows; Prometheus counts what was sent."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from support.archive.running import RunningArchive, eventually
from support.deploy.compose_stack import ComposeStack, running_stack, say
from support.deploy.manifests import ROOT, services
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
CT = (CTImageStorage, ExplicitVRLittleEndian)
PARTS = ["balancer", "rabbitmq", "postgres", "objects", "prometheus"]
"""That are killed; Grafana has no part in what is stored."""


@pytest.fixture(scope="module")
def stack() -> Iterator[ComposeStack]:
    with running_stack() as running:
        yield running


class AcknowledgedSlices:
    """Slices of one study, and what has been acknowledged of them."""

    def __init__(self, folder: Path) -> None:
        self.study = generate_uid()
        self._folder = folder
        self.acknowledged: list[Path] = []

    def make(self, count: int) -> list[Path]:
        """Write further slices, a series for each call."""
        self._folder.mkdir(exist_ok=True)
        series = generate_uid()
        return [saved(ct_slice(study=self.study, series=series, number=n), self._folder) for n in range(1, count + 1)]

    def send(self, archive: RunningArchive, count: int) -> bool:
        """Send further slices; tell whether the association came about and all of them were taken."""
        paths = self.make(count)
        try:
            with archive.association(CT, calling="CT1") as association:
                for path in paths:
                    status = association.send_c_store(path)
                    if status.get("Status", -1) != 0x0000:
                        return False
                    self.acknowledged.append(path)
        except (AssertionError, RuntimeError, ValueError):
            return False
        return True

    def check(self, archive: RunningArchive) -> None:
        """Wait until everything that was acknowledged is found, and compare some of it byte for byte."""
        eventually(lambda: found(archive, self.study) >= uids(self.acknowledged), seconds=120)
        for path in self.acknowledged[:: max(1, len(self.acknowledged) // 5)]:
            (instance,) = archive.post("/tools/lookup", content=dcmread(path).SOPInstanceUID).json()
            file = archive.get(f"/instances/{instance['ID']}/file").content
            assert dataset_bytes(file) == dataset_bytes(path)


def uids(paths: list[Path]) -> set[str]:
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in paths}


def found(archive: RunningArchive, study: str) -> set[str]:
    """Return the SOP Instance UIDs that QIDO-RS finds in a study; none while the door is closed."""
    try:
        answer = archive.get(f"/dicom-web/studies/{study}/instances?limit=10000")
    except httpx.HTTPError:
        return set()
    return {match["00080018"]["Value"][0] for match in answer.json()} if answer.content else set()


def measured(stack: ComposeStack, query: str) -> dict[str, float]:
    """Return the values of a Prometheus query by instance, or by job where there is no instance."""
    answer = httpx.get(f"{stack.prometheus}/api/v1/query", params={"query": query}).raise_for_status().json()
    results: list[dict[str, Any]] = answer["data"]["result"]
    return {r["metric"].get("instance") or r["metric"].get("job", ""): float(r["value"][1]) for r in results}


def test_everything_becomes_healthy_and_the_demo_shows_it(stack: ComposeStack) -> None:
    environment = stack.environment
    doors = ["--dicom", f"127.0.0.1:{environment['DICOM_PORT']}", "--http", stack.archive.url]
    shown = say(str(ROOT / ".venv" / "bin" / "osteon"), "demo", *doors, "--prometheus", stack.prometheus)
    assert "17 instances can be found" in shown
    assert "0 of" not in shown


def test_what_is_sent_is_found_and_retrieved(stack: ComposeStack, tmp_path: Path) -> None:
    sent = AcknowledgedSlices(tmp_path / "sent")
    assert sent.send(stack.archive, 20)
    sent.check(stack.archive)
    matches = stack.archive.find(STUDY_ROOT_FIND, QueryRetrieveLevel="STUDY", StudyInstanceUID=sent.study)
    assert len(matches) == 1


@pytest.mark.parametrize("name", services())
def test_a_service_runs_without_root_on_a_root_that_it_can_not_write_within_limits(
    stack: ComposeStack, name: str
) -> None:
    (container,) = stack.containers(name)
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["CapDrop"] == ["ALL"]
    code = "import os; print(os.getuid(), os.access('/opt/osteon', os.W_OK), os.access('/tmp', os.W_OK))"
    assert stack.execute(name, "python3", "-c", code) == "10001 False True"


def test_the_door_to_modalities_does_not_reach_the_database(stack: ComposeStack) -> None:
    lookup = ("python3", "-c", "import socket; print(bool(socket.getaddrinfo('postgres', 5432)))")
    assert stack.execute("query", *lookup) == "True"
    with pytest.raises(AssertionError, match=r"gaierror"):
        stack.execute("ingress", *lookup)


def test_ingress_sees_who_called_the_balancer(stack: ComposeStack) -> None:
    (balancer,) = stack.containers("balancer")
    own = {network["IPAddress"] for network in balancer["NetworkSettings"]["Networks"].values()}
    with stack.archive.association(CT, calling="WHO-CALLS"):
        pass
    log = stack.logs("ingress").splitlines()
    (line, *_) = [line for line in log if "association accepted" in line and "WHO-CALLS" in line]
    assert not [address for address in own if f'"{address}:' in line]


def test_associations_are_spread_over_replicas_and_prometheus_counts_what_was_sent(
    stack: ComposeStack, tmp_path: Path
) -> None:
    total = 'sum by (instance) (osteon_received_instances_total{job="ingress"})'
    eventually(lambda: sum(measured(stack, total).values()) > 0, seconds=60)
    stack.up(ingress=3, imaging=2)
    eventually(lambda: len(measured(stack, 'up{job="ingress"} == 1')) == 3, seconds=60)
    eventually(lambda: len(measured(stack, 'up{job="imaging"} == 1')) == 2, seconds=60)
    before = settled(stack, total)
    # All are open before the first one sends: each goes to the replica that has the fewest.
    sent, together = AcknowledgedSlices(tmp_path / "spread"), Barrier(9)
    groups = [sent.make(10) for _ in range(9)]

    def send(group: list[Path]) -> None:
        with stack.archive.association(CT, calling="SPREAD") as association:
            together.wait(60)
            for path in group:
                assert association.send_c_store(path).Status == 0x0000
                sent.acknowledged.append(path)

    with ThreadPoolExecutor(9) as senders:
        list(senders.map(send, groups))
    assert len(sent.acknowledged) == 90
    sent.check(stack.archive)
    eventually(lambda: sum(measured(stack, total).values()) - sum(before.values()) == 90, seconds=60)
    after = measured(stack, total)
    assert {after[instance] - before.get(instance, 0) for instance in after} == {30}
    indexed = 'sum by (job) (osteon_indexed_instances_total{job="indexer"})'
    eventually(lambda: sum(measured(stack, indexed).values()) == sum(after.values()), seconds=60)
    assert (
        say(
            "docker",
            "exec",
            stack.containers("ingress")[0]["Name"].strip("/"),
            "find",
            "/var/lib/osteon/spool",
            "-name",
            "*.tar",
        )
        == ""
    )


def settled(stack: ComposeStack, query: str) -> dict[str, float]:
    """Return the values of a query once they have been scraped from three replicas."""
    eventually(lambda: len(measured(stack, query)) <= 3, seconds=60)
    return measured(stack, query)


def test_fewer_replicas_leave_nothing_behind(stack: ComposeStack, tmp_path: Path) -> None:
    sent = AcknowledgedSlices(tmp_path / "fewer")
    for _ in range(6):
        assert sent.send(stack.archive, 5)
    stack.up(ingress=1, imaging=1)
    sent.check(stack.archive)
    assert len(stack.containers("ingress")) == 1


@pytest.mark.parametrize("name", [*services(), *PARTS])
def test_a_container_that_is_killed_comes_back_and_nothing_is_lost(
    stack: ComposeStack, tmp_path: Path, name: str
) -> None:
    sent, ended = AcknowledgedSlices(tmp_path / name), Event()

    def keep_sending() -> int:
        associations = 0
        while not ended.is_set():
            associations += sent.send(stack.archive, 5)
        return associations

    with ThreadPoolExecutor(1) as background:
        sending = background.submit(keep_sending)
        try:
            eventually(lambda: sent.acknowledged)
            stack.kill(name)
            stack.wait_healthy()
        finally:
            ended.set()
        assert sending.result() > 0
    assert sent.send(stack.archive, 5)
    sent.check(stack.archive)
