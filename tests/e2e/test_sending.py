"""What a running archive sends to and fetches from others: DCMTK, Orthanc, and another Osteon."""

import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from osteon_local.part import free_port
from support.archive.orthanc import OrthancServer, needs_orthanc, running_orthanc
from support.archive.running import RunningArchive, StandaloneProcess, eventually
from support.dicom.datasets import ct_slice
from support.dicom.elements import explicit
from support.packs.sealed_packs import part10

NODELAY = {**os.environ, "TCP_NODELAY": "1"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("archives"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(shutil.which("storescp") is None, reason="DCMTK is not installed"),
]


def uploaded(archive: RunningArchive, count: int, **attributes: Any) -> tuple[str, set[str]]:
    """Store a study by HTTP; return its public identifier, and its SOP Instance UIDs."""
    study, series = generate_uid(), generate_uid()
    slices = [ct_slice(study=study, series=series, number=n, **attributes) for n in range(count)]
    answer = httpx.post(archive.url + "/instances", content=zipped(slices), timeout=120).raise_for_status().json()
    first = answer[0] if isinstance(answer, list) else answer
    return str(first["ParentStudy"]), {str(each.SOPInstanceUID) for each in slices}


def zipped(slices: list[Dataset]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, each in enumerate(slices):
            archive.writestr(f"{number}.dcm", part10(each))
    return buffer.getvalue()


def put(archive: RunningArchive, path: str, body: Any) -> None:
    httpx.put(archive.url + path, json=body, timeout=30).raise_for_status()


def post(archive: RunningArchive, path: str, body: Any) -> httpx.Response:
    return httpx.post(archive.url + path, json=body, timeout=120)


def ended(archive: RunningArchive, job: str) -> dict[str, Any]:
    """Wait for the end of a job and return what it shows."""

    def over() -> dict[str, Any] | None:
        shown: dict[str, Any] = archive.get(f"/jobs/{job}").json()
        return shown if shown["State"] in ("Success", "Failure") else None

    found = eventually(over, seconds=90)
    assert found is not None
    return found


@contextmanager
def storescp(folder: Path, port: int, *options: str) -> Iterator[None]:
    """Run DCMTK's receiver."""
    folder.mkdir(exist_ok=True)
    echo = ["echoscu", "127.0.0.1", str(port)]
    command = ["storescp", "-od", str(folder), "+B", *options, str(port)]
    with subprocess.Popen(command, env=NODELAY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: subprocess.run(echo, check=False, capture_output=True).returncode == 0)
            yield
        finally:
            process.terminate()


def received(folder: Path) -> set[str]:
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def orthanc(archive: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), archive) as made:
        put(archive, "/modalities/orthanc", {"AET": "ORTHANC", "Host": "127.0.0.1", "Port": made.dicom_port})
        put(archive, "/peers/orthanc", [made.url])
        yield made


def test_a_study_is_sent_to_a_modality_that_was_added_just_now(archive: RunningArchive, tmp_path: Path) -> None:
    study, uids = uploaded(archive, 5)
    port = free_port()
    put(archive, "/modalities/dcmtk", ["DCMTK", "127.0.0.1", port])
    with storescp(tmp_path / "sink", port):
        answer = post(archive, "/modalities/dcmtk/store", study)
        assert answer.status_code == 200, answer.text
        assert received(tmp_path / "sink") == uids
    shown = answer.json()
    assert shown["InstancesCount"] == 5
    assert shown["FailedInstancesCount"] == 0
    assert (shown["LocalAet"], shown["RemoteAet"], shown["ParentResources"]) == ("OSTEON", "DCMTK", [study])


def test_a_file_is_sent_straight_on_and_not_stored(archive: RunningArchive, tmp_path: Path) -> None:
    dataset, port = ct_slice(), free_port()
    put(archive, "/modalities/straight", ["STRAIGHT", "127.0.0.1", port])
    with storescp(tmp_path / "sink", port):
        url = archive.url + "/modalities/straight/store-straight"
        answer = httpx.post(url, content=part10(dataset), timeout=60)
        assert answer.status_code == 200, answer.text
        assert received(tmp_path / "sink") == {str(dataset.SOPInstanceUID)} == {answer.json()["SOPInstanceUID"]}
        assert httpx.post(url, content=b"no DICOM", timeout=60).status_code == 400
    assert not archive.get(f"/dicom-web/instances?SOPInstanceUID={dataset.SOPInstanceUID}").content


def test_who_waits_is_told_at_once_that_a_modality_is_down(archive: RunningArchive) -> None:
    study, _ = uploaded(archive, 1)
    put(archive, "/modalities/gone", ["GONE", "127.0.0.1", free_port()])
    answer = post(archive, "/modalities/gone/store", study)
    assert answer.status_code == 500
    assert "127.0.0.1" in answer.text


def test_a_job_waits_for_a_modality_that_comes_back(archive: RunningArchive, tmp_path: Path) -> None:
    study, uids = uploaded(archive, 3)
    port = free_port()
    put(archive, "/modalities/later", ["LATER", "127.0.0.1", port])
    job = post(archive, "/modalities/later/store", {"Resources": [study], "Asynchronous": True}).json()["ID"]
    eventually(lambda: archive.get(f"/jobs/{job}").json()["State"] == "Retry")
    with storescp(tmp_path / "sink", port):
        assert ended(archive, job)["State"] == "Success"
        assert received(tmp_path / "sink") == uids


def test_a_destination_that_breaks_off_each_association_gets_nothing_and_is_told_of(
    archive: RunningArchive, tmp_path: Path
) -> None:
    study, _ = uploaded(archive, 2)
    port = free_port()
    put(archive, "/modalities/aborting", ["ABORTING", "127.0.0.1", port])
    with storescp(tmp_path / "sink", port, "--abort-during"):
        answer = post(archive, "/modalities/aborting/store", study)
    assert answer.status_code == 500
    assert "aborted by peer" in answer.text


@needs_orthanc
def test_orthanc_takes_a_study_by_c_store_and_commits_it(archive: RunningArchive, orthanc: OrthancServer) -> None:
    study, uids = uploaded(archive, 4)
    answer = post(archive, "/modalities/orthanc/store", {"Resources": [study], "StorageCommitment": True})
    assert answer.status_code == 200, answer.text
    assert uids <= orthanc.instances()
    transaction = answer.json()["StorageCommitmentTransactionUID"]

    def committed() -> bool:
        return bool(archive.get(f"/storage-commitment/{transaction}").json()["Status"] == "Success")

    eventually(committed)


@needs_orthanc
def test_an_instance_to_which_orthanc_gives_no_answer_fails_and_the_others_arrive(
    archive: RunningArchive, orthanc: OrthancServer
) -> None:
    study, series = generate_uid(), generate_uid()
    slices = [ct_slice(study=study, series=series, number=n) for n in range(4)]
    damaged = str(slices[1].SOPInstanceUID)
    for each in slices:
        cut = explicit(0x7FE10010, "OW", b"no end", length=1 << 20) if each.SOPInstanceUID == damaged else b""
        answer = httpx.post(archive.url + "/instances", content=part10(each) + cut, timeout=60).raise_for_status()
    body = {"Resources": [answer.json()["ParentStudy"]], "Asynchronous": True, "Timeout": 2}
    shown = ended(archive, post(archive, "/modalities/orthanc/store", body).json()["ID"])
    assert (shown["State"], shown["Content"]["FailedInstancesCount"]) == ("Failure", 1)
    (unsent,) = shown["Content"]["FailedInstances"]
    assert unsent["SOPInstanceUID"] == damaged
    assert "given up, each time the association broke twice" in unsent["Reason"]
    assert {str(each.SOPInstanceUID) for each in slices} - {damaged} <= orthanc.instances()


@needs_orthanc
def test_orthanc_takes_a_study_as_a_peer(archive: RunningArchive, orthanc: OrthancServer) -> None:
    for body in ({}, {"Compress": True}):
        study, uids = uploaded(archive, 6)
        answer = post(archive, "/peers/orthanc/store", {"Resources": [study], **body})
        assert answer.status_code == 200, answer.text
        assert uids <= orthanc.instances()
        assert (answer.json()["InstancesCount"], answer.json()["FailedInstancesCount"]) == (6, 0)


@needs_orthanc
def test_a_file_is_sent_straight_to_a_peer_and_not_stored(archive: RunningArchive, orthanc: OrthancServer) -> None:
    file = ct_slice()
    answer = archive.post("/peers/orthanc/store-straight", content=part10(file)).json()
    assert answer["Status"] == "Success"
    assert file.SOPInstanceUID in orthanc.instances()
    assert httpx.get(f"{archive.url}/instances/{answer['ID']}").status_code == 404
    refused = httpx.post(f"{archive.url}/peers/orthanc/store-straight", content=b"no DICOM")
    assert refused.status_code == 400


def test_orthanc_sends_to_the_archive_as_a_peer_and_as_a_modality(
    archive: RunningArchive, orthanc: OrthancServer
) -> None:
    for kind in ("peers", "modalities"):
        dataset = ct_slice()
        stored = orthanc.http.post("/instances", content=part10(dataset)).raise_for_status().json()
        orthanc.http.post(f"/{kind}/osteon/store", json=stored["ID"]).raise_for_status()
        eventually(lambda uid=dataset.SOPInstanceUID: archive.get(f"/dicom-web/instances?SOPInstanceUID={uid}").content)


@needs_orthanc
@pytest.mark.parametrize("method", ["get", "move"])
def test_what_orthanc_has_is_fetched(archive: RunningArchive, orthanc: OrthancServer, method: str) -> None:
    study = generate_uid()
    slices = [ct_slice(study=study, number=n) for n in range(5)]
    for each in slices:
        orthanc.http.post("/instances", content=part10(each)).raise_for_status()
    body = {"Level": "Study", "Resources": [{"StudyInstanceUID": study}]}
    answer = post(archive, f"/modalities/orthanc/{method}", body)
    assert answer.status_code == 200, answer.text
    assert [each["DimseErrorStatus"] for each in answer.json()["Details"]] == [0]
    there(archive, study, 5)


@needs_orthanc
@pytest.mark.parametrize("method", ["C-GET", "C-MOVE"])
def test_an_answer_of_a_query_is_retrieved(archive: RunningArchive, orthanc: OrthancServer, method: str) -> None:
    dataset = ct_slice()
    orthanc.http.post("/instances", content=part10(dataset)).raise_for_status()
    wanted = {"Level": "Study", "Query": {"StudyInstanceUID": str(dataset.StudyInstanceUID)}}
    query = post(archive, "/modalities/orthanc/query", wanted).json()["Path"]
    more = {"RetrieveMethod": method} | ({"TargetAet": "OSTEON"} if method == "C-MOVE" else {})
    answer = post(archive, f"{query}/answers/0/retrieve", more)
    assert answer.status_code == 200, answer.text
    there(archive, str(dataset.StudyInstanceUID), 1)


def there(archive: RunningArchive, study: str, count: int) -> None:
    """Wait until a study has so many instances."""
    path = f"/dicom-web/instances?StudyInstanceUID={study}"
    eventually(lambda: (found := archive.get(path)).content and len(found.json()) == count)


def test_what_dcmqrscp_has_is_fetched_by_c_get(archive: RunningArchive, tmp_path: Path) -> None:
    port, study = free_port(), generate_uid()
    (tmp_path / "db").mkdir()
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\nAETable BEGIN\n"
        f"QR {tmp_path / 'db'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    echo = ["echoscu", "-aec", "QR", "127.0.0.1", str(port)]
    with subprocess.Popen(["dcmqrscp", "-c", str(config)], env=NODELAY) as process:
        try:
            eventually(lambda: subprocess.run(echo, check=False, capture_output=True).returncode == 0)
            files = [tmp_path / f"{n}.dcm" for n in range(4)]
            for number, path in enumerate(files):
                path.write_bytes(part10(ct_slice(study=study, number=number)))
            subprocess.run(
                ["storescu", "-aec", "QR", "127.0.0.1", str(port), *map(str, files)], check=True, env=NODELAY
            )
            put(archive, "/modalities/qr", ["QR", "127.0.0.1", port])
            body = {"Level": "Study", "Resources": [{"StudyInstanceUID": study}]}
            answer = post(archive, "/modalities/qr/get", body)
            assert answer.status_code == 200, answer.text
            there(archive, study, 4)
        finally:
            process.terminate()


def test_one_osteon_sends_to_another_by_both_ways_of_http(standalone: RunningArchive, tmp_path: Path) -> None:
    other = StandaloneProcess(tmp_path / "other")
    peer = other.start()
    try:
        put(standalone, "/peers/rest", [peer.url])
        put(standalone, "/peers/web", {"Url": peer.dicomweb, "DicomWeb": True})
        for number, name in enumerate(("rest", "web"), 1):
            study, _ = uploaded(standalone, 10)
            answer = post(standalone, f"/peers/{name}/store", study)
            assert answer.status_code == 200, answer.text
            assert answer.json()["FailedInstancesCount"] == 0
            assert peer.get("/statistics").json()["CountInstances"] == 10 * number
    finally:
        other.stop()
