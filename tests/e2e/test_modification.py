"""Modify, anonymize, merge and split as Orthanc's clients ask for them, and with a dispatcher killed in the middle."""

import asyncio
import io
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from orthanc_api_client import OrthancApiClient
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from pyorthanc import Orthanc

from e2e.test_dispatcher_killed import INSTANCES, ended, upload, worker_of
from osteon_local.cluster import Cluster
from support.archive.running import RunningArchive
from support.dicom.datasets import ct_slice
from support.packs.sealed_packs import part10

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def stored(archive: RunningArchive, *datasets: Dataset) -> list[dict[str, Any]]:
    return [archive.post("/instances", content=part10(dataset)).json() for dataset in datasets]


def files(archive: RunningArchive, study: str) -> list[Dataset]:
    instances = archive.get(f"/studies/{study}/instances", params={"expand": "false"}).json()
    return [dcmread(io.BytesIO(archive.get(f"/instances/{each}/file").content)) for each in instances]


@pytest.mark.xdist_group("archives")
def test_clients_modify_merge_and_split(archive: RunningArchive) -> None:
    study, series, patient = generate_uid(), generate_uid(), f"P-{generate_uid()[-9:]}"
    other = f"Q-{generate_uid()[-9:]}"
    slices = [ct_slice(study=study, series=series, number=n, PatientID=patient) for n in (1, 2)]
    slices.append(ct_slice(study=study, number=3, PatientID=patient))
    answers = stored(archive, *slices)
    parent = answers[0]["ParentStudy"]

    made = archive.post(f"/studies/{parent}/modify", json={"Replace": {"StudyDescription": "new"}}).json()
    assert (made["Type"], made["InstancesCount"], made["IsAnonymization"]) == ("Study", 3, False)
    assert made["PatientID"] == answers[0]["ParentPatient"]
    changed = files(archive, made["ID"])
    assert {each.StudyDescription for each in changed} == {"new"}
    assert {each.PixelData for each in changed} == {each.PixelData for each in slices}
    assert len(archive.get(f"/studies/{made['ID']}/series").json()) == 2
    assert archive.get(f"/studies/{made['ID']}/metadata/ModifiedFrom").text == parent
    assert (
        archive.get("/changes", params={"type": "ModifiedStudy", "limit": 1000}).json()["Changes"][-1]["ID"]
        == made["ID"]
    )

    body = {"Replace": {"PatientID": other, "PatientName": "Other^One"}, "Force": True}
    given = archive.post(f"/studies/{parent}/modify", json=body).json()
    assert {(each.PatientID, str(each.PatientName)) for each in files(archive, given["ID"])} == {(other, "Other^One")}

    body = {"Resources": [answers[2]["ParentSeries"]], "KeepSource": True}
    merged = archive.post(f"/studies/{given['ID']}/merge", json=body).json()
    assert (merged["TargetStudy"], merged["InstancesCount"]) == (given["ID"], 1)
    together = files(archive, given["ID"])
    assert len(together) == len({each.SOPInstanceUID for each in together}) == 4
    assert {(each.PatientID, str(each.PatientName)) for each in together} == {(other, "Other^One")}

    body = {"Series": [answers[0]["ParentSeries"]], "KeepSource": True, "Replace": {"StudyDescription": "part"}}
    split = archive.post(f"/studies/{parent}/split", json=body).json()
    part = files(archive, split["TargetStudy"])
    assert [each.StudyDescription for each in part] == ["part", "part"]
    assert {each.StudyInstanceUID for each in part} == {split["TargetStudyUID"]}
    assert len(files(archive, parent)) == 3

    begun = archive.post(
        "/tools/bulk-modify", json={"Resources": [parent], "Level": "Study", "Asynchronous": True}
    ).json()
    shown = asyncio.run(_ended(archive.url, begun["ID"]))
    assert (shown["State"], shown["Type"]) == ("Success", "ResourceModification")
    assert [each["Type"] for each in shown["Content"]["Resources"]].count("Instance") == 3


@pytest.mark.xdist_group("archives")
def test_clients_anonymize(archive: RunningArchive) -> None:
    study, patient = generate_uid(), f"SECRET-{generate_uid()[-9:]}"
    slices = [ct_slice(study=study, number=n, PatientID=patient, PatientName="SECRET^Ann") for n in (1, 2)]
    slices[1].ReferencedImageSequence = [Dataset()]
    slices[1].ReferencedImageSequence[0].ReferencedSOPInstanceUID = slices[0].SOPInstanceUID
    parent = stored(archive, *slices)[0]["ParentStudy"]

    client = Orthanc(archive.url)
    job = client.post_studies_id_anonymize(parent, json={"Asynchronous": True, "Options": ["RetainFullDates"]})
    shown = asyncio.run(_ended(archive.url, job["ID"]))
    assert (shown["State"], shown["Content"]["IsAnonymization"]) == ("Success", True)
    assert shown["Content"]["Report"]["PatientName"] == "replaced"
    made = shown["Content"]["ID"]
    changed = sorted(files(archive, made), key=lambda each: "ReferencedImageSequence" in each)
    assert changed[1].ReferencedImageSequence[0].ReferencedSOPInstanceUID == changed[0].SOPInstanceUID
    assert {each.StudyDate for each in changed} == {slices[0].StudyDate}
    assert len({each.PatientID for each in changed}) == 1
    everything = json.dumps([
        archive.get(f"/studies/{made}{below}").json() for below in ("", "/instances-tags", "/shared-tags", "/instances")
    ])  # fmt: skip
    assert "SECRET" not in everything + json.dumps(shown)
    assert archive.get(f"/studies/{made}/metadata/AnonymizedFrom").text == parent
    found = archive.get("/changes", params={"type": "AnonymizedStudy", "limit": 1000}).json()["Changes"]
    assert found[-1]["ID"] == made

    api = OrthancApiClient(archive.url)
    named = api.studies.anonymize(parent, {"PatientID": f"S{patient[-9:]}"}, delete_original=False, force=True)
    assert {each.PatientID for each in files(archive, named)} == {f"S{patient[-9:]}"}
    instance = archive.get(f"/studies/{parent}").json()
    one = archive.get(f"/studies/{parent}/instances").json()[0]["ID"]
    assert b"SECRET" not in archive.post(f"/instances/{one}/anonymize", json={}).content
    series = archive.post(f"/series/{instance['Series'][0]}/anonymize", json={}).json()
    assert series["Type"] == "Series"
    bulk = archive.post("/tools/bulk-anonymize", json={"Resources": [parent]}).json()
    assert {each["Type"] for each in bulk["Resources"]} == {"Instance", "Series", "Study", "Patient"}


async def _ended(url: str, job: str) -> Mapping[str, Any]:
    async with httpx.AsyncClient(base_url=url) as http:
        return await ended(http, job)


@pytest.mark.xdist_group("broker")
@pytest.mark.parametrize("action", ["modify", "anonymize", "merge", "split"])
async def test_a_job_goes_on_when_its_dispatcher_is_killed(faulty: Cluster, action: str) -> None:
    study, _ = await asyncio.to_thread(upload, faulty.url)
    async with httpx.AsyncClient(base_url=faulty.url, timeout=60) as http:
        series = (await http.get(f"/studies/{study}")).json()["Series"]
        target = (await http.post("/instances", content=part10(ct_slice()))).json()["ParentStudy"]
        path, body = {
            "modify": (f"/studies/{study}/modify", {"Replace": {"StudyDescription": "new"}}),
            "anonymize": (f"/studies/{study}/anonymize", {}),
            "merge": (f"/studies/{target}/merge", {"Resources": series, "KeepSource": True}),
            "split": (f"/studies/{study}/split", {"Series": series, "KeepSource": True}),
        }[action]
        job = (await http.post(path, json={**body, "Asynchronous": True})).raise_for_status().json()["ID"]
        while (await http.get(f"/jobs/{job}")).json()["State"] == "Pending":
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # in the middle of its instances, or of their packs
        killed = await asyncio.to_thread(worker_of, faulty, job)
        faulty.kill(killed)
        try:
            shown = await ended(http, job)
        finally:
            faulty.restart(killed)
        content = shown["Content"]
        assert shown["State"] == "Success", shown
        assert (content["InstancesCount"], content["FailedInstancesCount"]) == (INSTANCES, 0)
        made = content["ID"] if action in ("modify", "anonymize") else content["TargetStudy"]
        found = (await http.get(f"/studies/{made}/statistics")).json()["CountInstances"]
        assert found == INSTANCES + (action == "merge")
        assert (await http.get(f"/studies/{study}/statistics")).json()["CountInstances"] == INSTANCES
