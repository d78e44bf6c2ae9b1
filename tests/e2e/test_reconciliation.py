"""An emergency study gets its patient's data later: everywhere, reversibly, and nothing that was received changes."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from osteon_local.part import free_port
from support.archive.running import RunningArchive, eventually
from support.dicom.datasets import ct_slice
from support.packs.sealed_packs import part10

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("archives"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(shutil.which("findscu") is None, reason="DCMTK is not installed"),
]

KNOWN = {
    "PatientID": "MRN-471", "PatientName": "Dölger^Ute", "PatientBirthDate": "19580304", "PatientSex": "F",
    "ReferringPhysicianName": "Kern^Olaf",
}  # fmt: skip


class Emergency:
    """A study of an unknown patient, which was sent with an accession number."""

    def __init__(self, archive: RunningArchive, slices: int = 3) -> None:
        self.archive = archive
        self.accession = generate_uid()[-12:]
        self.patient_id = f"UNKNOWN-{generate_uid()[-8:]}"
        self.study, self.series = generate_uid(), generate_uid()
        self.slices = [self.slice(n) for n in range(slices)]
        self.send(self.slices)
        (found,) = self.found(StudyInstanceUID=self.study)
        self.study_id = str(found["ID"])

    def slice(self, number: int) -> Dataset:
        return ct_slice(
            study=self.study, series=self.series, number=number, PatientID=self.patient_id, PatientName="UNKNOWN^A",
            AccessionNumber=self.accession, SpecificCharacterSet="ISO_IR 100",
        )  # fmt: skip

    def send(self, slices: list[Dataset]) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for number, each in enumerate(slices):
                file.writestr(f"{number}.dcm", part10(each))
        httpx.post(f"{self.archive.url}/instances", content=buffer.getvalue(), timeout=60).raise_for_status()

    def found(self, **query: str) -> list[dict[str, Any]]:
        body = {"Level": "Study", "Query": query, "Expand": True}
        return list(self.post("/tools/find", body).json())

    def post(self, path: str, body: Any) -> httpx.Response:
        return httpx.post(self.archive.url + path, json=body, timeout=120)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.archive.url + path, timeout=60, **options)

    def reconcile(self, **more: Any) -> dict[str, Any]:
        body = {"AccessionNumber": self.accession, "Replace": KNOWN, "Reason": "identified", "Requester": "desk 4"}
        (made,) = self.post("/tools/reconcile", body | more).raise_for_status().json()
        return dict(made)

    def instance_ids(self, study_id: str) -> list[str]:
        return [each["ID"] for each in self.get(f"/studies/{study_id}/instances").json()]


def values(dataset: Dataset) -> dict[str, str]:
    return {keyword: str(dataset.get(keyword, "")) for keyword in KNOWN}


def test_it_is_found_and_leaves_under_its_new_name_and_comes_back_when_undone(
    archive: RunningArchive, tmp_path: Path
) -> None:
    emergency = Emergency(archive)
    old_instance = emergency.instance_ids(emergency.study_id)[0]
    received = emergency.get(f"/instances/{old_instance}/file").content
    made = emergency.reconcile()
    assert (made["State"], made["Requester"], made["Reason"]) == ("active", "desk 4", "identified")
    assert made["Before"]["PatientName"] == "UNKNOWN^A"
    assert made["OriginalStudies"] == [emergency.study_id]

    (study,) = emergency.found(PatientID=KNOWN["PatientID"], StudyInstanceUID=emergency.study)
    assert (study["ID"], study["PatientMainDicomTags"]["PatientName"]) == (made["Study"], KNOWN["PatientName"])
    assert emergency.found(PatientID=emergency.patient_id) == []
    assert len(emergency.instance_ids(made["Study"])) == 3
    # Old identifiers lead on.
    moved = emergency.get(f"/studies/{emergency.study_id}")
    assert (moved.status_code, moved.headers["Location"]) == (307, f"/studies/{made['Study']}")
    led = emergency.get(f"/instances/{old_instance}/simplified-tags", follow_redirects=True).json()
    assert led["PatientName"] == KNOWN["PatientName"]

    qido = emergency.get("/dicom-web/studies", params={"PatientName": "Dölger*", "StudyInstanceUID": emergency.study})
    assert [each["00100020"]["Value"] for each in qido.json()] == [[KNOWN["PatientID"]]]
    assert "Dölger^Ute".encode() in findscu(archive, emergency.study)
    metadata = emergency.get(f"/dicom-web/studies/{emergency.study}/metadata").json()
    assert {each["00100010"]["Value"][0]["Alphabetic"] for each in metadata} == {KNOWN["PatientName"]}
    assert "04000561" in metadata[0]
    new_instance = emergency.get(f"/instances/{old_instance}", follow_redirects=True).json()["ID"]
    file = dcmread(io.BytesIO(emergency.get(f"/instances/{new_instance}/file").content))
    assert values(file) == KNOWN
    before = next(each for each in emergency.slices if each.SOPInstanceUID == file.SOPInstanceUID)
    assert file.PixelData == before.PixelData
    note = file.OriginalAttributesSequence[0]
    assert note.ModifiedAttributesSequence[0].PatientID == emergency.patient_id
    assert note.SourceOfPreviousValues == "desk 4: identified"
    moved_files = moved_to_a_modality(emergency, tmp_path)
    assert [values(each) for each in moved_files] == [KNOWN] * 3

    original = emergency.get(f"/instances/{new_instance}/file", params={"original": "true"}).content
    assert dcmread(io.BytesIO(original)).PatientID == emergency.patient_id
    assert original == received
    as_sent = emergency.get(f"/dicom-web/studies/{emergency.study}/metadata", params={"original": "true"}).json()
    assert {each["00100020"]["Value"][0] for each in as_sent} == {emergency.patient_id}
    assert emergency.get("/conflicts", params={"study": emergency.study}).json() == []

    undone = emergency.post(f"/reconciliations/{made['ID']}/undo", {"Requester": "desk 5"}).json()
    assert (undone["State"], undone["UndoneRequester"]) == ("undone", "desk 5")
    (study,) = emergency.found(StudyInstanceUID=emergency.study)
    assert (study["ID"], study["PatientMainDicomTags"]["PatientName"]) == (emergency.study_id, "UNKNOWN^A")
    assert emergency.get(f"/instances/{old_instance}/file").content == received
    assert emergency.get(f"/studies/{made['Study']}").headers["Location"] == f"/studies/{emergency.study_id}"
    again = emergency.reconcile()
    assert again["Study"] == made["Study"]
    listed = emergency.get("/reconciliations", params={"study": emergency.study}).json()
    assert [(each["ID"], each["State"]) for each in listed] == [(made["ID"], "undone"), (again["ID"], "active")]


def findscu(archive: RunningArchive, study: str) -> bytes:
    command = ["findscu", "-S", "-aec", archive.aet, "127.0.0.1", str(archive.dicom_port)]
    keys = ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}", "PatientName"]
    found = subprocess.run(
        [*command, *(part for key in keys for part in ("-k", key))], capture_output=True, check=True, timeout=60
    )
    return found.stdout + found.stderr


def moved_to_a_modality(emergency: Emergency, folder: Path) -> list[Dataset]:
    """Send the study by C-MOVE to a storescp, and return what that got."""
    port = free_port()
    storescp = subprocess.Popen(["storescp", "-od", str(folder), "-aet", "RECEIVER", str(port)])
    try:
        receiver = {"AET": "RECEIVER", "Host": "127.0.0.1", "Port": port}
        httpx.put(f"{emergency.archive.url}/modalities/receiver", json=receiver, timeout=30).raise_for_status()
        eventually(lambda: emergency.post("/modalities/receiver/echo", {}).is_success)
        command = ["movescu", "-S", "-aec", emergency.archive.aet, "-aem", "RECEIVER", "127.0.0.1"]
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={emergency.study}"]
        subprocess.run(
            [*command, str(emergency.archive.dicom_port), *keys], check=True, timeout=60, capture_output=True
        )
    finally:
        storescp.terminate()
        storescp.wait()
    return [dcmread(path) for path in sorted(folder.iterdir())]


def test_what_comes_later_is_reconciled_too(archive: RunningArchive) -> None:
    emergency = Emergency(archive, slices=1)
    made = emergency.reconcile()
    emergency.send([emergency.slice(7)])
    eventually(lambda: len(emergency.instance_ids(made["Study"])) == 2)
    assert emergency.found(PatientID=emergency.patient_id) == []


def test_several_apply_in_order_and_each_can_be_taken_back(archive: RunningArchive) -> None:
    emergency = Emergency(archive, slices=1)
    first = emergency.reconcile()
    second = emergency.post(
        f"/studies/{first['Study']}/reconcile", {"Replace": {"PatientName": "Dölger^Uta", "StudyDescription": "Skull"}}
    ).json()
    assert second["OriginalStudies"] == [emergency.study_id]

    def shown() -> tuple[str, str, str]:
        (study,) = emergency.found(StudyInstanceUID=emergency.study)
        patient, tags = study["PatientMainDicomTags"], study["MainDicomTags"]
        return patient["PatientID"], patient["PatientName"], tags["StudyDescription"]

    assert shown() == ("MRN-471", "Dölger^Uta", "Skull")
    emergency.post(f"/reconciliations/{first['ID']}/undo", {}).raise_for_status()
    assert shown() == (emergency.patient_id, "Dölger^Uta", "Skull")
    emergency.post(f"/reconciliations/{second['ID']}/undo", {}).raise_for_status()
    assert shown() == (emergency.patient_id, "UNKNOWN^A", "Test study")


def test_corrections_of_the_hospitals_system_update_and_merge_patients(archive: RunningArchive) -> None:
    one, other = Emergency(archive, slices=1), Emergency(archive, slices=1)
    update = {"Event": "PatientUpdated", "PatientID": one.patient_id, "Replace": {"PatientName": "Ahrens^Ina"}}
    (made,) = one.post("/tools/correct-patient", update).raise_for_status().json()
    assert made["Replace"] == {"PatientName": "Ahrens^Ina"}
    assert one.post("/tools/correct-patient", update).json() == []
    merge = {"Event": "PatientsMerged", "PatientID": one.patient_id, "PriorPatientID": other.patient_id}
    one.post("/tools/correct-patient", merge).raise_for_status()
    (moved,) = one.found(StudyInstanceUID=other.study)
    assert (
        moved["PatientMainDicomTags"] | {"PatientID": one.patient_id, "PatientName": "Ahrens^Ina"}
        == (moved["PatientMainDicomTags"])
    )
    assert other.found(PatientID=other.patient_id) == []


@pytest.mark.parametrize(("body", "says"), [
    ({}, "Replace"),
    ({"Replace": {"StudyInstanceUID": "1.2"}}, "StudyInstanceUID"),
    ({"Replace": {"PatientBirthDate": "yesterday"}}, "PatientBirthDate"),
    ({"Replace": {"PatientID": 7}}, "PatientID"),
    ({"Replace": {"PatientID": "x" * 65}}, "PatientID"),
    ({"Replace": {"PatientName": "A\\B"}}, "PatientName"),
])  # fmt: skip
def test_what_cannot_be_reconciled_is_refused_by_name(archive: RunningArchive, body: Any, says: str) -> None:
    emergency = Emergency(archive, slices=1)
    answer = emergency.post(f"/studies/{emergency.study_id}/reconcile", body)
    assert answer.status_code == 400
    assert says in answer.json()["Details"]
    assert emergency.get("/reconciliations", params={"study": emergency.study}).json() == []
