"""The cluster while its processes and parts are killed, frozen, stopped and started: nothing acknowledged is lost."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as StudyRootMove

from osteon_local.cluster import SERVICES, Cluster
from support.archive.running import RunningArchive, eventually
from support.dicom.datasets import ct_slice, saved
from support.dimse.pynetdicom_acceptor import accepting
from support.load.modalities import ModalityLoad, SendingModality, archive_of, images, nothing_lost

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("broker"), pytest.mark.timeout(240)]
CT = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")


DISPATCHERS = ("dispatcher-0", "dispatcher-1")


def ports(cluster: Cluster) -> list[int]:
    return [replica.ports["dicom"] for name, replica in cluster.replicas.items() if name.startswith("ingress")]


def readiness(cluster: Cluster, name: str) -> tuple[int, dict[str, str]]:
    answer = httpx.get(f"http://127.0.0.1:{cluster.replicas[name].health_port}/readyz", timeout=20)
    return answer.status_code, answer.json()["parts"]


def metric(cluster: Cluster, name: str, line: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{cluster.replicas[name].health_port}/metrics", timeout=20).text
    return sum(float(found.rpartition(" ")[2]) for found in text.splitlines() if found.startswith(line))


@contextmanager
def another_ingress(cluster: Cluster, folder: Path, **settings: str) -> Iterator[Cluster]:
    """Run one more ingress, with settings of its own, on the spool and the parts of a cluster."""
    own = {"OSTEON_SPOOL_DIR": str(cluster.data / "spool"), "OSTEON_PACK_SECONDS": "0.2"} | settings
    alone = dict.fromkeys(SERVICES, 0) | {"ingress": 1}
    with Cluster(folder, parts=cluster.parts, replicas=alone, settings=own) as more:
        yield more


def test_services_killed_in_turn_under_load_lose_nothing(faulty: Cluster, tmp_path: Path) -> None:
    with ModalityLoad(tmp_path, ports(faulty)) as load:
        for number, name in enumerate(("writer-0", "indexer-0", "ingress-0", "query-0", "writer-1", "indexer-1"), 1):
            load.reaches(35 * number)
            faulty.kill(name)
            faulty.replicas[name].process.start()
        load.ends()
    assert load.refused == []
    faulty.wait_ready()
    nothing_lost(faulty, load.acknowledged)


def test_services_asked_to_stop_under_load_finish_what_they_have(faulty: Cluster, tmp_path: Path) -> None:
    before = metric(faulty, "ingress-1", "osteon_associations_total")
    with ModalityLoad(tmp_path, ports(faulty)[:1]) as load:
        for name in ("writer-0", "indexer-0", "query-0", "ingress-0"):
            load.reaches(40)
            process = faulty.replicas[name].process
            process.stop(grace=40)
            assert process.returncode == 0, process.tail()
            process.start()
        load.ends()
    assert (load.refused, load.associations) == ([], 4), "an open association was not allowed to end"
    assert metric(faulty, "ingress-1", "osteon_associations_total") == before
    faulty.wait_ready()
    nothing_lost(faulty, load.acknowledged)


def test_parts_that_hang_under_load_delay_and_lose_nothing(faulty: Cluster, tmp_path: Path) -> None:
    with ModalityLoad(tmp_path, ports(faulty)) as load:
        load.reaches(40)
        for part in faulty.parts:
            part.pause()
        load.ends()
        time.sleep(6)
        for part in faulty.parts:
            part.resume()
    assert (load.refused, load.associations) == ([], 4)
    nothing_lost(faulty, load.acknowledged)


def test_ingest_goes_on_without_any_part_and_services_wait_for_them(faulty: Cluster, tmp_path: Path) -> None:
    with ModalityLoad(tmp_path, ports(faulty)) as load:
        load.reaches(20)
        for part in faulty.parts:
            part.kill()
        load.ends()
        assert (load.refused, load.associations) == ([], 4)
    for name in ("writer-0", "indexer-0", "query-0", "ingress-0"):
        process = faulty.replicas[name].process
        process.stop(grace=40)
        assert process.returncode == 0, process.tail()
        process.start()
    late = SendingModality(images(tmp_path / "late", slices=5), ports(faulty)[:1])
    eventually(lambda: faulty.replicas["ingress-0"].ready)
    late.run()
    assert (len(late.acknowledged), late.refused) == (5, [])
    assert readiness(faulty, "indexer-0") == (503, {"start": "still starting"})
    assert '"part": "database"' in faulty.replicas["indexer-0"].process.tail()
    status, parts = readiness(faulty, "writer-1")
    assert status == 503
    assert "no connection to RabbitMQ" in parts["broker"]
    assert "object store" in parts["objects"]
    for part in faulty.parts:
        part.launch()
    for part in faulty.parts:
        part.wait_ready()
    faulty.wait_ready()
    nothing_lost(faulty, load.acknowledged | late.acknowledged)


def test_the_same_instances_at_two_doors_at_once_are_one_row_each(faulty: Cluster, tmp_path: Path) -> None:
    archive = archive_of(faulty)
    before = archive.get("/statistics").json()
    files = images(tmp_path, series=2, slices=15)
    modalities = [SendingModality(files, [port]) for port in ports(faulty)]
    threads = [threading.Thread(target=modality.run) for modality in modalities]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    nothing_lost(faulty, {image.uid: image for image in files})
    after = archive.get("/statistics").json()
    grown = {name: int(after[name]) - int(before[name]) for name in after if name.startswith("Count")}
    assert (grown["CountStudies"], grown["CountSeries"], grown["CountInstances"]) == (1, 2, 30)
    assert grown["CountConflicts"] == 0
    [row] = archive.get("/dicom-web/studies", params={"StudyInstanceUID": files[0].study}).json()
    assert (row["00201206"]["Value"], row["00201208"]["Value"]) == ([2], [30])


def test_the_folder_of_an_ingress_that_never_comes_back_is_adopted(faulty: Cluster, tmp_path: Path) -> None:
    port = faulty.replicas["ingress-1"].ports["dicom"]
    modality = SendingModality(images(tmp_path), [port], patient=False)
    for writer in ("writer-0", "writer-1"):  # what is sealed stays in the folder
        faulty.pause(writer)
    thread = threading.Thread(target=modality.run)
    thread.start()
    eventually(lambda: len(modality.acknowledged) >= 20)
    adopted = metric(faulty, "ingress-0", "osteon_spool_recovered_packs_total")
    faulty.kill("ingress-1")
    thread.join()
    eventually(lambda: metric(faulty, "ingress-0", "osteon_spool_recovered_packs_total") > adopted)
    for writer in ("writer-0", "writer-1"):
        faulty.resume(writer)
    nothing_lost(faulty, modality.acknowledged, sent=modality.images)
    faulty.restart("ingress-1")


def test_a_full_spool_refuses_and_takes_again_by_itself(faulty: Cluster, tmp_path: Path) -> None:
    files = images(tmp_path / "files", slices=40)
    with another_ingress(faulty, tmp_path / "small", OSTEON_SPOOL_QUOTA_BYTES="150000") as small:
        faulty.parts.seaweedfs.kill()
        modality = SendingModality(files, [small.dicom_port])
        thread = threading.Thread(target=modality.run)
        thread.start()
        try:
            eventually(lambda: "Refused: OutOfResources" in storescu(small.dicom_port, files[-1].path))
            assert len(modality.acknowledged) < len(files)
            eventually(lambda: readiness(small, "ingress-0")[0] == 503)
            assert "OSTEON_SPOOL_QUOTA_BYTES" in readiness(small, "ingress-0")[1]["spool"]
        finally:
            faulty.parts.seaweedfs.start()
        thread.join(60)
        assert set(modality.refused) == {0xA700}
        assert len(modality.acknowledged) == len(files)
        nothing_lost(faulty, modality.acknowledged)
        eventually(lambda: readiness(small, "ingress-0")[0] == 200)


def storescu(port: int, path: Path) -> str:
    command = ["storescu", "-v", "-aec", "OSTEON", "127.0.0.1", str(port), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def test_an_answer_after_the_index_means_that_it_is_found_at_once(faulty: Cluster, tmp_path: Path) -> None:
    study = generate_uid()
    files = [saved(ct_slice(study=study, number=number), tmp_path) for number in range(5)]
    with another_ingress(faulty, tmp_path / "after", OSTEON_ACK_AFTER="index") as after:
        door = RunningArchive(after.dicom_port, faulty.url)
        for count, path in enumerate(files, 1):
            with door.association(CT) as association:
                assert association.send_c_store(path).Status == 0x0000
                found = door.find(StudyRootFind, QueryRetrieveLevel="STUDY", StudyInstanceUID=study,
                                  NumberOfStudyRelatedInstances="")  # fmt: skip
                assert [row.NumberOfStudyRelatedInstances for row in found] == [count]


def stow(archive: RunningArchive, path: Path) -> httpx.Response:
    body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n--x--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    return httpx.post(f"{archive.dicomweb}/studies", content=body, headers=headers, timeout=60)


def test_stow_without_a_broker_is_put_off_and_can_be_sent_again(faulty: Cluster, tmp_path: Path) -> None:
    archive = archive_of(faulty)
    [image] = images(tmp_path, slices=1)
    faulty.parts.rabbitmq.pause()
    try:
        refused = stow(archive, image.path)
    finally:
        faulty.parts.rabbitmq.resume()
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    answer = eventually(lambda: (sent := stow(archive, image.path)).status_code == 200 and sent)
    assert answer.json()["00081199"]["Value"][0]["00081155"]["Value"] == [image.uid]
    nothing_lost(faulty, {image.uid: image})


def test_one_id_follows_an_instance_through_all_logs_and_metrics_move(faulty: Cluster, tmp_path: Path) -> None:
    [image] = images(tmp_path, slices=1)
    names = ("osteon_packs_stored_total", "osteon_stored_bytes_total")
    before = [sum(metric(faulty, f"writer-{n}", name) for n in range(2)) for name in names]
    indexed = 'osteon_indexed_instances_total{state="stored"}'
    rows = sum(metric(faulty, f"indexer-{n}", indexed) for n in range(2))
    stored = metric(faulty, "ingress-0", 'osteon_cstore_responses_total{status="0x0000"}')
    archive = archive_of(faulty)
    with archive.association(CT, calling="CORRELATED") as association:
        assert association.send_c_store(image.path).Status == 0x0000
    nothing_lost(faulty, {image.uid: image})
    accepted = logged(faulty, "ingress", lambda line: line.get("calling_aet") == "CORRELATED")
    [correlation_id] = {line["correlation_id"] for line in accepted}
    of_it = lambda line: line.get("correlation_id") == correlation_id  # noqa: E731
    events = {
        service: [line["event"] for line in logged(faulty, service, of_it)]
        for service in ("ingress", "writer", "indexer")
    }
    assert {service: sorted(found) for service, found in events.items()} == {
        "ingress": ["association accepted", "association ended", "pack sealed"],
        "writer": ["pack stored"],
        "indexer": ["pack indexed"],
    }
    after = [sum(metric(faulty, f"writer-{n}", name) for n in range(2)) for name in names]
    assert after[0] == before[0] + 1
    assert after[1] > before[1]
    assert sum(metric(faulty, f"indexer-{n}", indexed) for n in range(2)) == rows + 1
    assert metric(faulty, "ingress-0", 'osteon_cstore_responses_total{status="0x0000"}') == stored + 1
    eventually(lambda: metric(faulty, "ingress-0", "osteon_spool_packs") == 0)


def logged(cluster: Cluster, service: str, chosen: Callable[[dict[str, str]], bool]) -> list[dict[str, str]]:
    lines = [line for path in cluster.logs.glob(f"{service}-*.log") for line in path.read_text().splitlines()]
    return [entry for line in lines if line.startswith("{") if chosen(entry := json.loads(line))]


def test_a_move_whose_dispatcher_is_killed_is_gone_on_with_by_the_next(faulty: Cluster, tmp_path: Path) -> None:
    files = images(tmp_path, slices=60)
    modality = SendingModality(files, ports(faulty)[:1])
    modality.run()
    nothing_lost(faulty, modality.acknowledged)
    came: list[str] = []

    def on_store(event: evt.Event) -> int:
        came.append(str(event.request.AffectedSOPInstanceUID))
        time.sleep(0.05)
        return 0

    sink, identifier = AE("SINK"), Dataset()
    sink.supported_contexts = StoragePresentationContexts
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", files[0].study
    with accepting(sink, (evt.EVT_C_STORE, on_store)) as port:
        there = json.dumps(["SINK", "127.0.0.1", port])
        httpx.put(f"{faulty.url}/modalities/sink", content=there).raise_for_status()
        with archive_of(faulty).association(StudyRootMove) as association:
            responses = association.send_c_move(identifier, "SINK", StudyRootMove)
            next(responses)
            eventually(lambda: len(came) >= 10)
            for name in DISPATCHERS:
                faulty.kill(name)
            faulty.replicas["dispatcher-0"].process.start()
            last = [status for status, _ in responses][-1]
    assert (last.Status, last.NumberOfCompletedSuboperations) == (0x0000, 60)
    assert set(came) == {image.uid for image in files}
    faulty.replicas["dispatcher-1"].process.start()
    faulty.wait_ready()


def test_without_a_dispatcher_retrievals_are_out_of_resources_and_nothing_hangs(faulty: Cluster) -> None:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", generate_uid()
    for name in DISPATCHERS:
        faulty.replicas[name].process.stop()
    archive = archive_of(faulty)
    try:
        with (
            archive.association(StudyRootMove) as moving,
            archive.association(StudyRootGet) as getting,
            ThreadPoolExecutor() as both,
        ):
            move = both.submit(list, moving.send_c_move(identifier, "SINK", StudyRootMove))
            get = both.submit(list, getting.send_c_get(identifier, StudyRootGet))
            (moved, _), (got, _) = move.result()[-1], get.result()[-1]
    finally:
        for name in DISPATCHERS:
            faulty.replicas[name].process.start()
    assert (moved.Status, got.Status) == (0xA701, 0xA701)
    assert "try again" in got.ErrorComment
    faulty.wait_ready()
