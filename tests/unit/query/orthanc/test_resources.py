"""Orthanc's REST API over the embedded ports."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.dicom.query import LAST_UPDATE, Order, Search
from osteon_query.limits import ApiLimits
from osteon_query.search.paging import pages
from support.dicom.datasets import ct_slice
from support.packs.sealed_packs import part10
from support.query.application import QuerySettings, RunningQuery, door, multipart, short_uid

UNKNOWN = "-".join(["01234567"] * 5)


async def upload(archive: RunningQuery, body: bytes, content_type: str = "application/dicom") -> Any:
    """POST /instances; fails the test on an HTTP error."""
    response = await archive.http.post("/instances", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 200, response.text
    return response.json()


def id_of(dataset: Dataset, level: int = 4) -> str:
    """Return the Orthanc identifier of a data set's patient (1) to instance (4)."""
    uids = dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return public_id(*uids[:level])


async def two_series(archive: RunningQuery) -> list[Dataset]:
    """Store a study of two series with three slices each."""
    study = short_uid()
    datasets = [
        ct_slice(study=study, series=f"{study}.{series}", number=n, SeriesNumber=series)
        for series in ("1", "2")
        for n in range(1, 4)
    ]
    await archive.stow(*datasets)
    return datasets


async def test_an_upload_is_answered_with_orthanc_s_identifiers(archive: RunningQuery) -> None:
    dataset = ct_slice()
    answer = await upload(archive, part10(dataset))
    assert answer == {
        "ID": id_of(dataset),
        "ParentPatient": id_of(dataset, 1),
        "ParentSeries": id_of(dataset, 3),
        "ParentStudy": id_of(dataset, 2),
        "Path": f"/instances/{id_of(dataset)}",
        "Status": "Success",
    }
    assert (await upload(archive, part10(dataset)))["Status"] == "AlreadyStored"


async def test_the_type_of_an_upload_does_not_matter(archive: RunningQuery) -> None:
    for kind in ("", "application/octet-stream", "application/x-www-form-urlencoded"):
        assert (await upload(archive, part10(ct_slice()), kind))["Status"] == "Success"


async def test_other_bytes_under_a_known_uid_are_already_stored_and_marked(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await upload(archive, part10(dataset))
    kept = id_of(dataset)
    dataset.PatientID = "ANOTHER"
    answer = await upload(archive, part10(dataset))
    assert (answer["Status"], answer["Conflict"], answer["ID"]) == ("AlreadyStored", True, kept)
    assert (await archive.json("/statistics"))["CountConflicts"] == 1


async def test_a_form_with_a_file_is_an_upload(archive: RunningQuery) -> None:
    dataset = ct_slice()
    response = await archive.http.post(
        "/instances", files={"file": ("a.dcm", part10(dataset), "application/dicom")}, data={"note": "text"}
    )
    assert response.json()["ID"] == id_of(dataset)


async def test_a_zip_archive_gives_an_array_and_leaves_out_what_is_not_dicom(archive: RunningQuery) -> None:
    datasets = [ct_slice() for _ in range(3)]
    body = zipped({f"d/{n}.dcm": part10(d) for n, d in enumerate(datasets)} | {"README.txt": b"text", "d/e/": b""})
    answer = await upload(archive, body, "application/zip")
    assert {entry["ID"] for entry in answer} == {id_of(dataset) for dataset in datasets}


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("files", [{}, {"README.txt": b"text", "a/b.pdf": b"%PDF"}])
async def test_a_zip_archive_without_dicom_says_so(archive: RunningQuery, files: dict[str, bytes]) -> None:
    response = await archive.http.post("/instances", content=zipped(files))
    assert response.status_code == 400
    assert response.json()["Details"].startswith("the ZIP archive holds no DICOM instance: ")


async def test_a_zip_bomb_is_stopped_at_the_upload_limit(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(max_upload_bytes=100_000)) as archive:
        response = await archive.http.post("/instances", content=zipped({"bomb": bytes(50 << 20)}))
        assert response.status_code == 413
        assert not list((tmp_path / "uploading").iterdir())


async def test_a_zip_directory_that_claims_to_be_huge_is_not_read(archive: RunningQuery) -> None:
    body = bytearray(zipped({"a": b"x"}))
    end = body.rfind(b"PK\x05\x06")
    body[end + 12 : end + 16] = (0xFFFFFFF0).to_bytes(4, "little")
    assert (await archive.http.post("/instances", content=bytes(body))).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not DICOM",
        b"PK\x03\x04",
        b"PK\x03\x04" + bytes(1000),
        zipped({"a.txt": b"text"}),
        zipped({"a.dcm": b"x" * 5000})[:-30],
        zipped({}),
        part10(ct_slice())[:500],
    ],
    ids=["empty", "text", "zip-magic", "zip-of-zeros", "zip-of-text", "cut-zip", "empty-zip", "cut-dicom"],
)
async def test_a_body_that_is_no_dicom_is_refused_in_orthanc_s_shape(archive: RunningQuery, body: bytes) -> None:
    response = await archive.http.post("/instances", content=body)
    assert response.status_code == 400
    error = response.json()
    assert set(error) == {
        "Method", "Uri", "HttpError", "HttpStatus", "OrthancError", "OrthancStatus", "Message", "Details",
    }  # fmt: skip
    assert (error["Method"], error["Uri"], error["HttpStatus"]) == ("POST", "/instances", 400)
    assert error["Details"]


async def test_an_encrypted_or_damaged_zip_entry_is_a_bad_request(archive: RunningQuery) -> None:
    body = bytearray(zipped({"a.dcm": b"x" * 5000}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.find(signature) + at] |= 1
    assert (await archive.http.post("/instances", content=bytes(body))).status_code == 400
    body = bytearray(zipped({"a.dcm": bytes(range(256)) * 50}))
    body[60:70] = b"\xff" * 10
    assert (await archive.http.post("/instances", content=bytes(body))).status_code == 400


async def test_not_indexed_in_time_is_503_and_sending_again_is_safe(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(upload_index_timeout_seconds=0.01), indexing=False) as archive:
        response = await archive.http.post("/instances", content=part10(ct_slice()))
        assert response.status_code == 503
        assert response.headers["Retry-After"]


async def test_a_study_has_orthanc_s_shape(archive: RunningQuery) -> None:
    datasets = await two_series(archive)
    study = await archive.json(f"/studies/{id_of(datasets[0], 2)}")
    assert set(study) == {
        "ID", "Type", "IsStable", "LastUpdate", "Labels", "MainDicomTags", "PatientMainDicomTags", "ParentPatient",
        "Series",
    }  # fmt: skip
    assert study["Type"] == "Study"
    assert set(study["Series"]) == {id_of(datasets[0], 3), id_of(datasets[5], 3)}
    assert study["ParentPatient"] == id_of(datasets[0], 1)
    assert study["PatientMainDicomTags"]["PatientName"] == "Test^Osteon"
    assert study["MainDicomTags"]["StudyDescription"] == "Test study"
    assert study["IsStable"] is False
    assert len(study["LastUpdate"]) == len("20240101T000000")


async def test_a_series_has_orthanc_s_shape(archive: RunningQuery) -> None:
    datasets = await two_series(archive)
    series = await archive.json(f"/series/{id_of(datasets[0], 3)}")
    assert series["ParentStudy"] == id_of(datasets[0], 2)
    assert set(series["Instances"]) == {id_of(dataset) for dataset in datasets[:3]}
    assert (series["ExpectedNumberOfInstances"], series["Status"]) == (None, "Unknown")
    assert series["MainDicomTags"]["SeriesNumber"] == "1"


async def test_a_series_knows_whether_it_is_complete_when_its_headers_say_how_many(archive: RunningQuery) -> None:
    study = short_uid()
    expected = {"ImagesInAcquisition": "2", "NumberOfTemporalPositions": "1", "study": study, "series": f"{study}.1"}
    first, second = ct_slice(number=1, **expected), ct_slice(number=2, **expected)
    for dataset, status in ((first, "Missing"), (second, "Complete")):
        await archive.stow(dataset)
        series = await archive.json(f"/series/{id_of(first, 3)}")
        assert (series["ExpectedNumberOfInstances"], series["Status"]) == (2, status)
    await archive.stow(ct_slice(number=7, **expected))
    assert (await archive.json(f"/series/{id_of(first, 3)}"))["Status"] == "Inconsistent"


async def test_an_instance_has_orthanc_s_shape_with_tags_from_its_header(archive: RunningQuery) -> None:
    dataset = ct_slice(number=5, ImagePositionPatient=[1, 2, 3.5], AcquisitionNumber="4")
    await archive.stow(dataset)
    instance = await archive.json(f"/instances/{id_of(dataset)}")
    assert instance["ParentSeries"] == id_of(dataset, 3)
    assert instance["FileSize"] == len(part10(dataset))
    assert instance["IndexInSeries"] == 5
    assert instance["MainDicomTags"]["AcquisitionNumber"] == "4"
    assert instance["MainDicomTags"]["ImagePositionPatient"] == "1.0\\2.0\\3.5"


async def test_lists_give_identifiers_or_objects_in_pages(archive: RunningQuery) -> None:
    datasets = await two_series(archive)
    every = await archive.json("/instances")
    assert set(every) == {id_of(dataset) for dataset in datasets}
    pages = [await archive.json(f"/instances?since={n}&limit=2") for n in (0, 2, 4, 6)]
    assert [*pages[0], *pages[1], *pages[2]] == every
    assert pages[3] == []
    assert [one["ID"] for one in await archive.json("/instances?expand")] == every
    assert await archive.json("/studies?expand=false") == [id_of(datasets[0], 2)]
    assert {one["Type"] for one in await archive.json("/series?expand")} == {"Series"}
    assert {len(one["Instances"]) for one in await archive.json("/series?expand")} == {3}
    (patient,) = await archive.json("/patients?expand=true")
    assert patient["Studies"] == [id_of(datasets[0], 2)]


async def test_requested_tags_come_from_the_index_and_from_the_header(archive: RunningQuery) -> None:
    await archive.stow(ct_slice(PatientWeight="70"))
    (study,) = await archive.json("/studies?expand&requested-tags=PatientWeight;Modality;ModalitiesInStudy;0010,0020")
    assert study["RequestedTags"] == {
        "PatientWeight": "70", "Modality": "CT", "ModalitiesInStudy": "CT", "PatientID": "OSTEON-TEST",
    }  # fmt: skip
    (study,) = await archive.json("/studies?expand&requested-tags=Modality")
    assert study["RequestedTags"] == {"Modality": "CT"}


COUNTS = {
    "patients": {f"NumberOfPatientRelated{each}": 1 for each in ("Studies", "Series", "Instances")},
    "studies": {
        "NumberOfStudyRelatedSeries": 1, "NumberOfStudyRelatedInstances": 1, "ModalitiesInStudy": "CT",
        "SOPClassesInStudy": CTImageStorage,
    },
    "series": {"NumberOfSeriesRelatedInstances": 1},
    "instances": {"InstanceAvailability": "ONLINE"},
}  # fmt: skip


async def test_computed_tags_and_parts_come_from_the_index_alone(
    archive: RunningQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.stow(ct_slice())

    async def raw_headers(*_: object) -> list[bytes]:
        pytest.fail("a header was read")

    monkeypatch.setattr("osteon_query.orthanc.resource_lists.raw_headers", raw_headers)
    for segment, counts in COUNTS.items():
        body = {"Level": segment, "Query": {}, "RequestedTags": list(counts), "ResponseContent": ["RequestedTags"]}
        (shown,) = await find(archive, **body)
        assert shown["RequestedTags"] == {name: str(value) for name, value in counts.items()}
        assert set(shown) == {"ID", "Type", "RequestedTags"}
    assert await find(archive, Level="Study", Query={"Modality": "CT"})
    assert await find(archive, Level="Study", Query={"SOPClassUID": CTImageStorage})


async def test_a_long_ordered_list_is_that_of_one_moment(archive: RunningQuery) -> None:
    slices = [ct_slice(PatientID=f"P{n}") for n in range(5)]
    await archive.stow(*slices)
    newest = Search(Level.STUDY, order=(Order(LAST_UPDATE, descending=True),))
    expected = [match.public_id for match in (await archive.index.search(newest)).matches]
    seen: list[str] = []
    async for page in pages(archive.index, newest, size=2, total=None):
        seen += [match.public_id for match in page]
        await archive.stow(ct_slice(PatientID=f"New{len(seen)}"))
    assert seen == expected
    assert [match.public_id async for page in pages(archive.index, newest, size=2, total=3) for match in page][3:] == []


@pytest.mark.parametrize(
    "query", ["since=1", "limit=1", "since=-1&limit=2", "since=a&limit=b", "expand&requested-tags=x"]
)
async def test_a_bad_list_parameter_is_refused(archive: RunningQuery, query: str) -> None:
    response = await archive.http.get(f"/studies?{query}")
    assert response.status_code == 400
    assert response.json()["OrthancStatus"]


@pytest.mark.parametrize("id", [UNKNOWN, "x", "%2e%2e", "%00", "a" * 500, "' OR 1=1", UNKNOWN[:-1]])
async def test_an_unknown_or_malformed_identifier_is_not_found(archive: RunningQuery, id: str) -> None:
    for path in (f"/studies/{id}", f"/instances/{id}/file", f"/series/{id}/instances", f"/patients/{id}/statistics"):
        response = await archive.http.get(path)
        assert response.status_code == 404, path


async def test_relatives_of_resources_are_expanded_unless_told_otherwise(archive: RunningQuery) -> None:
    datasets = await two_series(archive)
    patient, study, series, instance = (id_of(datasets[0], level) for level in (1, 2, 3, 4))
    assert (await archive.json(f"/instances/{instance}/patient"))["ID"] == patient
    assert (await archive.json(f"/instances/{instance}/study"))["ID"] == study
    assert (await archive.json(f"/instances/{instance}/series"))["ID"] == series
    assert (await archive.json(f"/series/{series}/study"))["ID"] == study
    assert (await archive.json(f"/studies/{study}/patient"))["ID"] == patient
    assert len(await archive.json(f"/patients/{patient}/instances?expand=false")) == 6
    assert {one["Type"] for one in await archive.json(f"/studies/{study}/series")} == {"Series"}
    assert instance in await archive.json(f"/series/{series}/instances?expand=false")


async def test_the_file_comes_back_with_a_name_and_by_ranges(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    path = f"/instances/{id_of(dataset)}/file"
    response = await archive.http.get(path)
    assert response.content == part10(dataset)
    assert response.headers["Content-Type"] == "application/dicom"
    assert id_of(dataset) in response.headers["Content-Disposition"]
    part = await archive.http.get(path, headers={"Range": "bytes=128-131"})
    assert (part.status_code, part.content) == (206, b"DICM")
    head = await archive.http.head(path)
    assert (head.headers["Content-Length"], head.content) == (str(len(part10(dataset))), b"")


@pytest.mark.parametrize(
    ("method", "headers", "status", "content_range"),
    [
        ("GET", {"Range": "bytes=0-0"}, 206, "bytes 0-0/{size}"),
        ("GET", {"Range": "bytes=-4"}, 206, "bytes {last4}-{last}/{size}"),
        ("GET", {"Range": "bytes=132-"}, 206, "bytes 132-{last}/{size}"),
        ("GET", {"Range": "bytes=0-1,5-6"}, 416, "bytes */{size}"),
        ("GET", {"Range": "bytes=0-3", "If-Range": '"x"'}, 200, None),
        ("GET", {"Range": "bytes=99999999-"}, 416, "bytes */{size}"),
        ("HEAD", {"Range": "bytes=0-3"}, 200, None),
    ],
)
async def test_a_file_s_ranges_are_those_of_http(
    archive: RunningQuery, method: str, headers: dict[str, str], status: int, content_range: str | None
) -> None:
    dataset = ct_slice()
    data = part10(dataset)
    await archive.stow(dataset)
    response = await archive.http.request(method, f"/instances/{id_of(dataset)}/file", headers=headers)
    assert response.status_code == status
    names = {"size": len(data), "last": len(data) - 1, "last4": len(data) - 4}
    expected = None if content_range is None else content_range.format(**names)
    assert response.headers.get("Content-Range") == expected
    if status == 200:
        assert response.headers["Content-Length"] == str(len(data))
        assert response.headers["Accept-Ranges"] == "bytes"


async def test_tags_come_in_three_forms(archive: RunningQuery) -> None:
    item = Dataset()
    item.CodeValue = "T1"
    dataset = ct_slice(ProcedureCodeSequence=[item], PatientComments="x" * 300)
    dataset.add_new(0x00091001, "LO", "secret")
    dataset.add_new(0x00090010, "LO", "MAKER")
    await archive.stow(dataset)
    path = f"/instances/{id_of(dataset)}"
    full = await archive.json(f"{path}/tags")
    assert full["0010,0010"] == {"Name": "PatientName", "Type": "String", "Value": "Test^Osteon"}
    assert full["0009,1001"]["PrivateCreator"] == "MAKER"
    assert full["0008,1032"]["Value"][0]["0008,0100"]["Value"] == "T1"
    assert full["7fe0,0010"] == {"Name": "PixelData", "Type": "Null", "Value": None}
    assert full["0010,4000"]["Type"] == "TooLong"
    simple = await archive.json(f"{path}/simplified-tags")
    assert simple == await archive.json(f"{path}/tags?simplify")
    assert simple["ProcedureCodeSequence"] == [{"CodeValue": "T1"}]
    assert (await archive.json(f"{path}/tags?short"))["0010,0020"] == "OSTEON-TEST"
    assert (await archive.json(f"{path}/simplified-tags?ignore-length"))["PatientComments"] == "x" * 300


async def test_shared_tags_are_those_that_all_instances_have_alike(archive: RunningQuery) -> None:
    datasets = await two_series(archive)
    study = await archive.json(f"/studies/{id_of(datasets[0], 2)}/shared-tags?simplify")
    assert study["PatientID"] == "OSTEON-TEST"
    assert study["StudyInstanceUID"] == datasets[0].StudyInstanceUID
    assert not {"SeriesInstanceUID", "SOPInstanceUID", "InstanceNumber", "PixelData"} & set(study)
    series = await archive.json(f"/series/{id_of(datasets[0], 3)}/shared-tags")
    assert series["0020,000e"]["Value"] == datasets[0].SeriesInstanceUID
    assert "0020,0013" not in series
    assert (await archive.http.get(f"/patients/{UNKNOWN}/shared-tags")).status_code == 404


async def test_resources_have_no_labels_and_no_protection(archive: RunningQuery) -> None:
    (dataset, *_) = await two_series(archive)
    for level, segment in enumerate(("patients", "studies", "series", "instances"), 1):
        assert await archive.json(f"/{segment}/{id_of(dataset, level)}/labels") == []
        assert (await archive.http.get(f"/{segment}/{UNKNOWN}/labels")).status_code == 404
    assert (await archive.http.get(f"/patients/{id_of(dataset, 1)}/protected")).text == "0"


async def find(archive: RunningQuery, **body: Any) -> Any:
    """POST /tools/find; fails the test on an HTTP error."""
    response = await archive.http.post("/tools/find", json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def test_find_searches_without_regard_to_case_unless_told(archive: RunningQuery) -> None:
    datasets = await two_series(archive)
    study = id_of(datasets[0], 2)
    assert await find(archive, Level="Study", Query={"StudyDescription": "test*"}) == [study]
    assert await find(archive, Level="Study", Query={"StudyDescription": "test*"}, CaseSensitive=True) == []
    assert await find(archive, Level="studies", Query={"0010,0020": "OSTEON-TEST", "PatientName": ""}) == [study]
    (found,) = await find(archive, Level="Study", Query={}, Expand=True)
    assert len(found["Series"]) == 2
    ordered = await find(
        archive, Level="Instance", Query={}, ParentSeries=id_of(datasets[0], 3), Expand=True,
        OrderBy=[{"Type": "DicomTag", "Key": "InstanceNumber", "Direction": "DESC"}],
    )  # fmt: skip
    assert [one["IndexInSeries"] for one in ordered] == [3, 2, 1]
    walked = [await find(archive, Level="Instance", Query={}, Limit=2, Since=n) for n in (0, 2, 4, 6)]
    assert [len(page) for page in walked] == [2, 2, 2, 0]
    for limit, counted in ((None, {"Count": 6}), (6, {"Count": 6, "Exact": True}), (5, {"Count": 5, "Exact": False})):
        body = {"Level": "Instance", "Query": {}} | ({} if limit is None else {"Limit": limit})
        assert (await archive.http.post("/tools/count-resources", json=body)).json() == counted
    assert await find(archive, Level="Study", Query={}, Labels=["x"]) == []


async def test_find_lists_the_studies_that_were_updated_last_first(archive: RunningQuery) -> None:
    first, second = ct_slice(PatientID="W1"), ct_slice(PatientID="W2")
    await archive.stow(first)
    await archive.stow(second)
    newest = [{"Type": "Metadata", "Key": "LastUpdate", "Direction": "DESC"}]
    assert await find(archive, Level="Study", Query={}, OrderBy=newest) == [id_of(second, 2), id_of(first, 2)]
    await archive.stow(ct_slice(PatientID="W1", study=first.StudyInstanceUID))
    assert await find(archive, Level="Study", Query={}, OrderBy=newest) == [id_of(first, 2), id_of(second, 2)]
    assert await find(archive, Level="Study", Query={}, OrderBy=newest, Limit=1) == [id_of(first, 2)]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b"1", b'{"Level": 1}', b'{"Level": "Room", "Query": {}}',
        b'{"Level": "Study", "Query": []}', b'{"Level": "Study", "Query": {"PatientID": 1}}',
        b'{"Level": "Study", "Query": {"Nope": "1"}}', b'{"Level": "Study", "Query": {"PatientWeight": "heavy"}}',
        b'{"Level": "Patient", "Query": {"ModalitiesInStudy": "CT"}}',
        b'{"Level": "Study", "Query": {}, "Limit": -1}', b'{"Level": "Study", "Query": {}, "Expand": "yes"}',
        b'{"Level": "Study", "OrderBy": [{"Type": "Metadata", "Key": "x"}]}',
        b'{"Level": "Study", "OrderBy": [{"Type": "DicomTag", "Key": "LastUpdate"}]}',
        b'{"Level": "Instance", "OrderBy": [{"Type": "Metadata", "Key": "LastUpdate"}]}',
        b'{"Level": "Study", "OrderBy": [{"Type": "DicomTag", "Key": "SeriesNumber"}]}', b"[" * 100_000,
        b'{"Level": "Study", "Query": {"PatientName": "\\ud800"}}',
    ],
)  # fmt: skip
async def test_a_find_that_makes_no_sense_is_a_bad_request(archive: RunningQuery, body: bytes) -> None:
    response = await archive.http.post("/tools/find", content=body)
    assert response.status_code == 400, response.text
    assert response.json()["Details"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"PatientWeight": "70.50"}, {1}),
        ({"PatientComments": "*allergic*"}, {1, 2}),
        ({"PatientComments": "*ALLERGIC*", "PatientID": "W2"}, {2}),
        ({"Modality": "ct"}, {1, 2, 3}),
        ({"SliceThickness": "1"}, {1, 2, 3}),
        ({"PatientBirthTime": "10-11"}, {2}),
        ({"PatientBirthTime": '""'}, {1, 3}),
        ({"ProcedureCodeSequence.CodeValue": "T?"}, {3}),
        ({"ReasonForStudy": "none of these"}, set()),
    ],
)
async def test_find_reads_headers_for_what_the_index_does_not_hold(
    archive: RunningQuery, query: dict[str, str], found: set[int]
) -> None:
    item = Dataset()
    item.CodeValue = "T1"
    datasets = [
        ct_slice(PatientID="W1", PatientWeight="70.5", PatientComments="is Allergic to iodine", SliceThickness="1.0"),
        ct_slice(PatientID="W2", PatientBirthTime="1030", PatientComments="allergic", SliceThickness="1.00"),
        ct_slice(PatientID="W3", ProcedureCodeSequence=[item], SliceThickness="1"),
    ]
    await archive.stow(*datasets)
    expected = {id_of(datasets[n - 1], 2) for n in found}
    assert set(await find(archive, Level="Study", Query=query)) == expected
    response = await archive.http.post("/tools/count-resources", json={"Level": "Study", "Query": query})
    assert response.json() == {"Count": len(expected)}


async def test_a_find_by_header_is_paged_ordered_and_case_sensitive_as_any_other(archive: RunningQuery) -> None:
    study = short_uid()
    slices = [ct_slice(study=study, series=f"{study}.1", number=n, ImageComments="Odd" * (n % 2)) for n in range(6)]
    await archive.stow(*slices)
    odd = {"ImageComments": "odd"}
    order = [{"Type": "DicomTag", "Key": "InstanceNumber", "Direction": "DESC"}]
    every = await find(archive, Level="Instance", Query=odd, OrderBy=order)
    assert every == [id_of(slices[n]) for n in (5, 3, 1)]
    for since, limit in ((0, 1), (1, 1), (1, 5), (3, 1)):
        page = await find(archive, Level="Instance", Query=odd, OrderBy=order, Since=since, Limit=limit)
        assert page == every[since : since + limit]
    assert await find(archive, Level="Instance", Query=odd, CaseSensitive=True) == []
    (shown, *_) = await find(archive, Level="Instance", Query=odd, Expand=True, RequestedTags=["ImageComments"])
    assert shown["RequestedTags"] == {"ImageComments": "Odd"}


async def test_a_find_that_would_read_too_many_headers_says_so(archive: RunningQuery) -> None:
    archive.change(limits=ApiLimits(header_candidates=2))
    await two_series(archive)
    body = {"Level": "Instance", "Query": {"PatientWeight": "70"}}
    response = await archive.http.post("/tools/find", json=body)
    assert response.status_code == 400
    assert "PatientWeight" in response.json()["Details"]
    assert "more than 2 headers" in response.json()["Details"]
    narrowed = {**body["Query"], "InstanceNumber": "1"}  # type: ignore[dict-item]
    assert await find(archive, Level="Instance", Query=narrowed) == []


async def test_the_lists_of_several_patients_have_the_studies_of_each(archive: RunningQuery) -> None:
    datasets = [ct_slice(PatientID=f"P{n % 3}") for n in range(6)]
    await archive.stow(*datasets)
    listed = await archive.json("/patients?expand&requested-tags=PatientComments")
    for n, patient in enumerate(listed):
        assert set(patient["Studies"]) == {id_of(datasets[n], 2), id_of(datasets[n + 3], 2)}


async def test_lookup_finds_identifiers_without_regard_to_case(archive: RunningQuery) -> None:
    (dataset, *_) = await two_series(archive)
    for text, level, kind in (
        ("osteon-test", 1, "Patient"), (dataset.StudyInstanceUID, 2, "Study"),
        (f" {dataset.SeriesInstanceUID}\n", 3, "Series"), (dataset.SOPInstanceUID, 4, "Instance"),
    ):  # fmt: skip
        found = (await archive.http.post("/tools/lookup", content=text)).json()
        assert {"ID": id_of(dataset, level), "Type": kind} in [{k: e[k] for k in ("ID", "Type")} for e in found]
    assert (await archive.http.post("/tools/lookup", content="nobody")).json() == []
    assert (await archive.http.post("/tools/lookup", content=b"")).status_code == 400


async def test_statistics_count_everything_and_each_resource(archive: RunningQuery) -> None:
    datasets = await two_series(archive)
    totals = await archive.json("/statistics")
    counts = [totals[f"Count{kind}"] for kind in ("Patients", "Studies", "Series", "Instances")]
    assert counts == [1, 1, 2, 6]
    assert int(totals["TotalDiskSize"]) == sum(len(part10(dataset)) for dataset in datasets)
    study = await archive.json(f"/studies/{id_of(datasets[0], 2)}/statistics")
    assert (study["CountSeries"], study["CountInstances"], study["DiskSize"]) == (2, 6, totals["TotalDiskSize"])
    instance = await archive.json(f"/instances/{id_of(datasets[0])}/statistics")
    assert instance["DicomDiskSize"] == str(len(part10(datasets[0])))


async def test_the_change_log_can_be_followed(archive: RunningQuery) -> None:
    assert (await archive.json("/changes?last"))["Last"] == 0
    await two_series(archive)
    log = await archive.json("/changes")
    assert log["Done"] is True
    assert log["Last"] == log["Changes"][-1]["Seq"]
    assert [entry["ChangeType"] for entry in log["Changes"]].count("NewInstance") == 6
    first = log["Changes"][0]
    assert first["Path"] == f"/{first['ResourceType'].lower()}s/{first['ID']}"
    page = await archive.json(f"/changes?since={first['Seq']}&limit=2")
    assert page["Changes"] == log["Changes"][1:3]
    assert page["Done"] is False
    assert await archive.json(f"/changes?since={log['Last']}") == {"Changes": [], "Done": True, "Last": log["Last"]}
    assert (await archive.json("/changes?last"))["Changes"] == log["Changes"][-1:]
    studies = await archive.json("/changes?type=NewStudy;StableStudy")
    assert [entry["ChangeType"] for entry in studies["Changes"]] == ["NewStudy"]
    newest = await archive.json(f"/changes?to={log['Changes'][4]['Seq']}&limit=2")
    assert newest["Changes"] == log["Changes"][3:5]
    assert (await archive.http.get("/changes?type=Nonsense")).status_code == 400
    assert (await archive.http.get("/changes?since=x")).status_code == 400


async def test_clients_can_discover_what_this_is(archive: RunningQuery) -> None:
    system = await archive.json("/system")
    assert (system["DicomAet"], system["DicomPort"]) == ("OSTEON", 4242)
    assert await archive.json("/plugins") == ["dicom-web"]
    plugin = await archive.json("/plugins/dicom-web")
    assert (plugin["ID"], plugin["Version"]) == ("dicom-web", "1.18")
    assert (await archive.http.get("/plugins/none")).status_code == 404
    assert len((await archive.http.get("/tools/now")).text) == len("20240101T000000")


async def test_every_answer_carries_the_correlation_id_that_came_or_a_new_one(archive: RunningQuery) -> None:
    given = await archive.http.get("/system", headers={"X-Correlation-Id": "scan-1"})
    assert given.headers["X-Correlation-Id"] == "scan-1"
    bad = await archive.http.get("/system", headers={"X-Correlation-Id": "a b\t" + "x" * 100})
    assert len(bad.headers["X-Correlation-Id"]) == 32


async def test_requests_are_measured_by_route_and_not_by_path(archive: RunningQuery) -> None:
    await archive.http.get(f"/studies/{UNKNOWN}")
    await archive.http.get("/nowhere/at/all")
    text = (await archive.http.get("/metrics")).text
    assert 'route="/studies/{id}",status="404"' in text
    assert 'route="unmatched",status="404"' in text
    assert UNKNOWN not in text


async def test_errors_have_the_shape_of_the_door_they_came_through(archive: RunningQuery) -> None:
    rest, web = await archive.http.get("/nowhere"), await archive.http.get("/dicom-web/nowhere")
    assert rest.json()["OrthancStatus"] == 17
    assert web.headers["Content-Type"] == "application/problem+json"
    assert (await archive.http.put("/system")).status_code == 405


async def test_a_part_that_is_down_makes_the_door_not_ready(archive: RunningQuery) -> None:
    assert (await archive.http.get("/readyz")).status_code == 200
    await archive.bus.close()
    assert (await archive.http.get("/readyz")).status_code == 503
    assert (await archive.http.get("/healthz")).status_code == 200


async def test_multipart_related_is_taken_at_instances_too(archive: RunningQuery) -> None:
    body, kind = multipart([part10(ct_slice()), part10(ct_slice())])
    assert [entry["Status"] for entry in await upload(archive, body, kind)] == ["Success", "Success"]
