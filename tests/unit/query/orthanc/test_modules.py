"""Orthanc REST: modules, headers of files, values at paths, the tags of many instances."""

import pytest
from pydicom.dataset import Dataset

from support.dicom.datasets import ct_slice
from support.query.application import RunningQuery


async def stored(archive: RunningQuery, **attributes: str) -> dict[str, str]:
    """Store an instance; return the identifiers of its levels."""
    await archive.stow(ct_slice(**attributes))
    (instance,) = await archive.json("/instances?expand")
    (series,) = await archive.json("/series?expand")
    return {"instances": instance["ID"], "series": series["ID"], "studies": series["ParentStudy"],
            "patients": (await archive.json("/patients"))[0]}  # fmt: skip


async def test_modules_have_the_attributes_of_their_level_only(archive: RunningQuery) -> None:
    ids = await stored(archive, PatientID="P1", PatientName="Doe^Jane", AccessionNumber="A1")
    patient = await archive.json(f"/patients/{ids['patients']}/module?simplify")
    assert patient["PatientName"] == "Doe^Jane"
    assert not {"StudyInstanceUID", "Modality", "SOPInstanceUID"} & patient.keys()
    for level in ("studies", "series", "instances"):
        assert await archive.json(f"/{level}/{ids[level]}/module-patient?simplify") == patient
    study = await archive.json(f"/studies/{ids['studies']}/module?simplify")
    assert study["AccessionNumber"] == "A1"
    assert not {"PatientName", "Modality"} & study.keys()
    assert "Modality" in await archive.json(f"/series/{ids['series']}/module?simplify")
    instance = await archive.json(f"/instances/{ids['instances']}/module?simplify")
    assert {"SOPInstanceUID", "SOPClassUID"} <= instance.keys()
    assert (await archive.json(f"/patients/{ids['patients']}/module"))["0010,0010"]["Name"] == "PatientName"
    missing = await archive.http.get(f"/studies/{'0' * 8}-{'-'.join(['0' * 8] * 4)}/module")
    assert missing.status_code == 404


async def test_the_file_meta_information_is_a_header(archive: RunningQuery) -> None:
    ids = await stored(archive)
    header = await archive.json(f"/instances/{ids['instances']}/header?simplify")
    assert header["TransferSyntaxUID"] == "1.2.840.10008.1.2.1"
    assert all(tag.startswith("0002,") for tag in await archive.json(f"/instances/{ids['instances']}/header"))


async def test_values_are_at_their_paths(archive: RunningQuery) -> None:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    dataset = ct_slice(PatientName="Doe^Jane")
    dataset.ReferencedImageSequence = [item]
    await archive.stow(dataset)
    (instance,) = await archive.json("/instances")
    base = f"/instances/{instance}/content"
    assert "0010-0010" in await archive.json(base)
    assert (await archive.http.get(f"{base}/0010-0010")).text == "Doe^Jane"
    assert (await archive.http.get(f"{base}/PatientName")).text == "Doe^Jane"
    assert await archive.json(f"{base}/0008-1140") == ["0"]
    assert await archive.json(f"{base}/0008-1140/0") == ["0008-1155"]
    assert (await archive.http.get(f"{base}/0008-1140/0/0008-1155")).text == "1.2.3"
    for wrong in ("0008-1140/1", "0010-0010/0", "0010-9999", "0008-1140/x"):
        assert (await archive.http.get(f"{base}/{wrong}")).status_code == 404, wrong
    assert (await archive.http.get(f"{base}/nothing")).status_code == 400


async def test_the_tags_of_all_instances_come_as_one_object(archive: RunningQuery) -> None:
    first = ct_slice()
    await archive.stow(first, ct_slice(study=str(first.StudyInstanceUID), number=2))
    (study,) = await archive.json("/studies")
    found = await archive.json(f"/studies/{study}/instances-tags?simplify")
    assert found.keys() == set(await archive.json("/instances"))
    for instance, tags in found.items():
        assert tags == await archive.json(f"/instances/{instance}/simplified-tags")


@pytest.mark.parametrize("path", ["//studies", "/studies//", "///studies/"])
async def test_slashes_are_single(archive: RunningQuery, path: str) -> None:
    response = await archive.http.get(f"http://test{path}")
    assert (response.status_code, response.json()) == (200, [])


async def test_a_get_or_post_may_mean_another_method(archive: RunningQuery) -> None:
    put = await archive.http.post("/modalities/x?_method=PUT", json=["X", "127.0.0.1", 104])
    assert put.status_code == 200
    assert await archive.json("/modalities") == ["x"]
    deleted = await archive.http.post("/modalities/x", headers={"X-HTTP-Method-Override": "DELETE"})
    assert deleted.status_code == 200
    assert await archive.json("/modalities") == []
    assert (await archive.http.get("/modalities/x?_method=DELETE")).status_code == 404
    from_a_page = await archive.http.get("/modalities?_method=DELETE", headers={"Sec-Fetch-Site": "cross-site"})
    assert from_a_page.status_code == 200
