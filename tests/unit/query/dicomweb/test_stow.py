"""STOW-RS over the embedded ports."""

import asyncio
import errno
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from osteon.dicom.uids import PRIVATE_INFORMATION_CREATOR_UID
from osteon.errors import Unavailable
from osteon.packs.index_entries import find_stored_pack
from osteon_query.packs import uploads
from support.dicom.datasets import ct_slice
from support.dicom.real_files import BUNDLED, dataset_bytes
from support.packs.sealed_packs import part10
from support.query.application import WEB, QuerySettings, RunningQuery, door, multipart, short_uid

ANY_DICOM = "application/dicom; transfer-syntax=*"


async def _post(archive: RunningQuery, *parts: bytes, study: str = "") -> tuple[int, Dataset]:
    body, kind = multipart(parts)
    path = f"{WEB}/studies/{study}".rstrip("/")
    response = await archive.http.post(path, content=body, headers={"Content-Type": kind})
    assert response.headers["Content-Type"] == "application/dicom+json", response.text
    return response.status_code, Dataset.from_json(response.json())


async def test_an_instance_that_was_stored_is_referenced_with_its_url(archive: RunningQuery) -> None:
    dataset = ct_slice()
    status, answer = await _post(archive, part10(dataset))
    assert status == 200
    (reference,) = answer.ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == dataset.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == dataset.SOPClassUID
    assert "FailedSOPSequence" not in answer
    found = await archive.http.get(reference.RetrieveURL, headers={"Accept": "application/dicom"})
    assert found.content == part10(dataset)


async def test_the_answer_comes_after_the_instances_can_be_found(archive: RunningQuery) -> None:
    study = short_uid()
    await archive.stow(*(ct_slice(study=study, series=f"{study}.{s}", number=n) for s in (1, 2) for n in range(4)))
    assert len(await archive.json(f"{WEB}/studies/{study}/instances")) == 8
    assert len(await archive.json(f"{WEB}/studies/{study}/series")) == 2


async def test_the_same_instance_again_is_a_success_and_is_stored_once(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    status, answer = await _post(archive, part10(dataset), part10(dataset))
    assert status == 200
    assert len(answer.ReferencedSOPSequence) == 2
    assert (await archive.index.statistics()).instances == 1


async def test_other_bytes_under_a_known_uid_fail_as_duplicate_and_the_first_stay(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    first = part10(dataset)
    dataset.PatientComments = "changed"
    status, answer = await _post(archive, part10(dataset))
    assert status == 409
    assert answer.FailedSOPSequence[0].FailureReason == 0x0111
    assert answer.FailedSOPSequence[0].ReferencedSOPInstanceUID == dataset.SOPInstanceUID
    kept = await archive.http.get(
        f"{WEB}/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}",
        headers={"Accept": "application/dicom"},
    )
    assert kept.content == first
    (conflict,) = await archive.json("/conflicts")
    assert conflict["First"]["SOPInstanceUID"] == conflict["Second"]["SOPInstanceUID"] == dataset.SOPInstanceUID
    assert conflict["First"]["Sha256"] != conflict["Second"]["Sha256"]


async def test_the_same_data_set_in_another_encoding_is_stored_already(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    buffer = BytesIO()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(buffer, implicit_vr=True, little_endian=True, enforce_file_format=True)
    status, answer = await _post(archive, buffer.getvalue())
    assert status == 200
    assert answer.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == dataset.SOPInstanceUID
    assert "FailedSOPSequence" not in answer
    assert await archive.json("/conflicts?state=all") == []
    assert len([info async for info in archive.objects.list() if info.key.endswith(".tar")]) == 1


async def test_two_versions_of_an_instance_in_one_request_leave_one_and_a_conflict(archive: RunningQuery) -> None:
    dataset = ct_slice()
    first = part10(dataset)
    dataset.PatientComments = "changed"
    status, answer = await _post(archive, first, part10(dataset))
    assert status == 202
    assert len(answer.ReferencedSOPSequence) == len(answer.FailedSOPSequence) == 1
    statistics = await archive.index.statistics()
    assert (statistics.instances, statistics.conflicts) == (1, 1)


async def test_an_instance_of_another_study_than_the_url_names_is_refused(archive: RunningQuery) -> None:
    right, wrong = ct_slice(), ct_slice()
    status, answer = await _post(archive, part10(right), part10(wrong), study=right.StudyInstanceUID)
    assert status == 202
    assert answer.FailedSOPSequence[0].FailureReason == 0xA900
    assert answer.FailedSOPSequence[0].ReferencedSOPInstanceUID == wrong.SOPInstanceUID
    assert (await archive.index.statistics()).instances == 1
    status, _ = await _post(archive, part10(wrong), study=right.StudyInstanceUID)
    assert status == 409


@pytest.mark.parametrize(
    ("before", "head", "after"),
    [
        ("A multi-part message in MIME format.\r\n", "Content-Type: application/dicom\r\n", "\r\n--B--\r\nbye"),
        ("", "Content-Type:\r\n application/dicom;\r\n\ttransfer-syntax=*\r\n", "--B--"),
        ("\r\n", "", "\r\n--B--"),
        ("", "content-type: Application/DICOM\r\nContent-Transfer-Encoding: binary\r\n", "\r\n--B-- \r\n"),
    ],
)
async def test_bodies_of_other_libraries_are_stored_as_sent(
    archive: RunningQuery, before: str, head: str, after: str
) -> None:
    file = part10(ct_slice())
    body = f"{before}--B \r\n{head}\r\n".encode() + file + after.encode()
    kind = 'Multipart/Related; TYPE="Application/DICOM"; Boundary="B"'
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    assert response.status_code == 200, response.text
    (stored,) = await archive.json("/instances")
    assert (await archive.http.get(f"/instances/{stored}/file")).content == file


async def test_a_part_in_base64_is_refused_with_what_is_possible(archive: RunningQuery) -> None:
    body = b"--B\r\nContent-Type: application/dicom\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--B--"
    kind = 'multipart/related; type="application/dicom"; boundary=B'
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    assert response.status_code == 415
    assert "Content-Transfer-Encoding 'base64' is not supported: send it as binary" in response.json()["detail"]


async def test_a_part_that_is_not_dicom_fails_and_the_others_are_stored(archive: RunningQuery) -> None:
    dataset = ct_slice()
    status, answer = await _post(archive, b"garbage", part10(dataset), b"")
    assert status == 202
    assert [item.FailureReason for item in answer.OtherFailuresSequence] == [0xC000, 0xC000]
    assert len(answer.ReferencedSOPSequence) == 1


async def test_a_missing_uid_fails_as_it_does_in_c_store(archive: RunningQuery) -> None:
    dataset = ct_slice()
    del dataset.SeriesInstanceUID
    status, answer = await _post(archive, part10(dataset))
    assert status == 409
    (failure,) = answer.OtherFailuresSequence
    assert failure.FailureReason == 0xA900
    assert "0020,000E" in failure.ErrorComment


async def test_a_transfer_syntax_that_nobody_knows_is_refused(archive: RunningQuery) -> None:
    data = part10(ct_slice()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.8\0")
    status, answer = await _post(archive, data)
    assert status == 409
    assert answer.OtherFailuresSequence[0].FailureReason == 0xC122


@pytest.mark.parametrize("cut", [1, 100, 131, 140, 300, 700])
async def test_a_file_that_is_cut_before_its_identifiers_is_refused(archive: RunningQuery, cut: int) -> None:
    status, answer = await _post(archive, part10(ct_slice())[:cut])
    assert status == 400
    assert answer.OtherFailuresSequence[0].FailureReason == 0xC000
    assert (await archive.index.statistics()).instances == 0


async def test_a_file_that_is_cut_behind_its_identifiers_is_kept_with_a_warning(archive: RunningQuery) -> None:
    dataset = ct_slice()
    cut = part10(dataset)[:4000]
    status, answer = await _post(archive, cut)
    assert status == 202
    (kept,) = answer.ReferencedSOPSequence
    assert (kept.ReferencedSOPInstanceUID, kept.WarningReason) == (dataset.SOPInstanceUID, 0xB007)
    assert kept.ErrorComment.startswith("pixel data has 3116 bytes, not 8192")
    (study,) = await archive.json(f"{WEB}/studies", params={"StudyInstanceUID": dataset.StudyInstanceUID})
    assert study["00100010"]["Value"] == [{"Alphabetic": "Test^Osteon"}]
    file = await archive.http.get(f"/instances/{(await archive.json('/instances'))[0]}/file")
    assert file.content == cut


async def test_path_characters_in_a_uid_are_refused(archive: RunningQuery) -> None:
    name = b"1.2.3/../../etc/passwd"
    dataset = ct_slice(study="1.2.3.4.5.6.7.8.9.10.11")
    data = part10(dataset)
    assert len(name) == len(dataset.StudyInstanceUID) - 1
    status, answer = await _post(archive, data.replace(dataset.StudyInstanceUID.encode(), name + b" "))
    assert status == 409
    assert answer.OtherFailuresSequence[0].FailureReason == 0xA900
    assert not list((archive.folder / "objects").rglob("*.tar"))


async def test_a_single_file_is_a_body_too(archive: RunningQuery) -> None:
    response = await archive.http.post(
        f"{WEB}/studies", content=part10(ct_slice()), headers={"Content-Type": "application/dicom"}
    )
    assert response.status_code == 200
    assert len(Dataset.from_json(response.json()).ReferencedSOPSequence) == 1


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("", 415),
        ("text/plain", 415),
        ("application/dicom+xml2", 415),
        ('multipart/related; type="application/octet-stream"; boundary=B', 415),
        ('multipart/related; type="application/dicom"', 400),
        ('multipart/related; type="application/dicom"; boundary=""', 400),
        (f'multipart/related; type="application/dicom"; boundary={"x" * 100}', 400),
        ('multipart/related; type="application/dicom"; boundary=OTHER', 400),
        ('multipart/related;;;=;"', 400),
    ],
)
async def test_a_wrong_content_type_is_explained(archive: RunningQuery, content_type: str, status: int) -> None:
    body, _ = multipart([part10(ct_slice())])
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": content_type})
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--BOUNDARY",
        b"--BOUNDARY--",
        b"--BOUNDARY--\r\n",
        b"--BOUNDARY\r\nContent-Type: application/dicom\r\n\r\nhalf a part",
        b"--BOUNDARY\r\nContent-Type: application/dicom",
        b"--BOUNDARY\r\n" + b"X: y\r\n" * 10_000 + b"\r\nx\r\n--BOUNDARY--",
        b"--BOUNDARY\r\n" + b"X" * 100_000 + b": y\r\n\r\nx\r\n--BOUNDARY--",
        b"no boundary at all" * 1000,
        bytes(range(256)) * 10,
        b"\r\n" * 5000,
    ],
)
async def test_a_body_that_is_no_multipart_is_a_bad_request(archive: RunningQuery, body: bytes) -> None:
    _, kind = multipart([])
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    assert response.status_code == 400, response.text


async def test_a_compressed_body_is_not_taken(archive: RunningQuery) -> None:
    body, kind = multipart([b""])
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    assert (await archive.http.post(f"{WEB}/studies", content=body, headers=headers)).status_code == 415


async def test_a_body_over_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(max_upload_bytes=20_000)) as archive:
        body, kind = multipart([part10(ct_slice()) for _ in range(3)])

        async def chunked():  # type: ignore[no-untyped-def]
            for start in range(0, len(body), 1000):
                yield body[start : start + 1000]

        for content in (body, chunked()):
            response = await archive.http.post(f"{WEB}/studies", content=content, headers={"Content-Type": kind})
            assert response.status_code == 413
            assert "OSTEON_MAX_UPLOAD_BYTES" in response.json()["detail"]
        assert not list((tmp_path / "uploading").iterdir())
        assert (await archive.index.statistics()).instances == 0


async def test_parts_may_come_one_byte_at_a_time(archive: RunningQuery) -> None:
    dataset = ct_slice(PixelData=b"\r\n--BOUNDAR" * 20, Rows=10, Columns=11)
    body, kind = multipart([part10(dataset)])

    async def dripping():  # type: ignore[no-untyped-def]
        for byte in body:
            yield bytes([byte])

    response = await archive.http.post(f"{WEB}/studies", content=dripping(), headers={"Content-Type": kind})
    assert response.status_code == 200, response.text
    found = await archive.http.get(
        Dataset.from_json(response.json()).ReferencedSOPSequence[0].RetrieveURL, headers={"Accept": "application/dicom"}
    )
    assert found.content == part10(dataset)


async def test_without_a_broker_the_answer_is_503_with_retry_after(archive: RunningQuery) -> None:
    await archive.bus.close()
    body, kind = multipart([part10(ct_slice())])
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0


async def test_what_is_stored_but_not_indexed_in_time_is_accepted_with_a_warning(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(upload_index_timeout_seconds=0.01), indexing=False) as archive:
        body, kind = multipart([part10(ct_slice())])
        response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
        assert response.status_code == 202
        assert response.headers["Warning"].startswith("299 ")
        (pack,) = [path for path in (tmp_path / "objects").rglob("*.*") if path.is_file()]
        assert await find_stored_pack(
            pack.relative_to(tmp_path / "objects").as_posix(), pack.stat().st_size, archive.objects
        )


async def test_a_store_that_fails_is_503_and_nothing_is_announced(
    archive: RunningQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable("the store is down")

    monkeypatch.setattr(archive.objects, "put_file", fail)
    body, kind = multipart([part10(ct_slice())])
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    assert response.status_code == 503
    assert not list((archive.folder / "objects").rglob("*.tar"))
    assert not list((archive.folder / "uploading").iterdir())
    assert archive.state.uploads.waiting == 0


async def test_a_file_that_was_downloaded_and_changed_is_stored_as_another_instance(archive: RunningQuery) -> None:
    """Osteon's files carry the SHA-256 of their data set; tools keep it when they change the data set."""
    dataset = ct_slice()
    dataset.file_meta.PrivateInformationCreatorUID = PRIVATE_INFORMATION_CREATOR_UID
    dataset.file_meta.PrivateInformation = bytes(range(32))
    status, _ = await _post(archive, part10(dataset))
    assert status == 200


async def test_a_file_without_preamble_and_prefix_gets_them_and_is_the_same_otherwise(archive: RunningQuery) -> None:
    dataset = ct_slice()
    whole = part10(dataset)
    status, answer = await _post(archive, whole[132:])
    assert status == 200
    back = await archive.http.get(answer.ReferencedSOPSequence[0].RetrieveURL, headers={"Accept": "application/dicom"})
    assert back.content == bytes(128) + b"DICM" + whole[132:]
    status, answer = await _post(archive, whole[128:])
    assert (status, "FailedSOPSequence" in answer) == (200, False)


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
async def test_a_bare_data_set_is_stored_as_a_file_whose_syntax_is_what_it_shows(
    archive: RunningQuery, syntax: UID, size: int
) -> None:
    dataset = ct_slice(EncapsulatedDocument=bytes(size), PixelData=bytes(8192))
    dataset.file_meta.TransferSyntaxUID = syntax
    bare = dataset_bytes(part10(dataset))
    status, answer = await _post(archive, bare)
    assert status == 200
    back = await archive.http.get(answer.ReferencedSOPSequence[0].RetrieveURL, headers={"Accept": ANY_DICOM})
    assert dataset_bytes(back.content) == bare
    stored = dcmread(BytesIO(back.content))
    assert stored.file_meta.TransferSyntaxUID == syntax
    assert stored.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


async def test_a_bare_data_set_with_compressed_pixels_is_refused(archive: RunningQuery) -> None:
    path = BUNDLED / "693_J2KI.dcm"
    response = await archive.http.post("/instances", content=dataset_bytes(path.read_bytes()))
    assert response.status_code == 400
    assert "transfer syntax is unknown" in response.json()["Details"]


@pytest.mark.parametrize("cut", [129, 133, 140])
async def test_a_file_that_begins_elsewhere_is_refused(archive: RunningQuery, cut: int) -> None:
    status, _ = await _post(archive, part10(ct_slice())[cut:])
    assert status == 400


async def test_uploads_wait_for_their_turn_and_are_refused_when_it_does_not_come(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(max_concurrent_uploads=1)) as archive:
        archive.state.uploads.slot_seconds = 0.05
        body, kind = multipart([part10(ct_slice())])
        half_sent, go_on = asyncio.Event(), asyncio.Event()

        async def slowly():  # type: ignore[no-untyped-def]
            yield body[:100]
            half_sent.set()
            await go_on.wait()
            yield body[100:]

        headers = {"Content-Type": kind}
        slow = asyncio.create_task(archive.http.post(f"{WEB}/studies", content=slowly(), headers=headers))
        await half_sent.wait()
        refused = await archive.http.post(f"{WEB}/studies", content=body, headers=headers)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert "OSTEON_MAX_CONCURRENT_UPLOADS" in refused.json()["detail"]
        archive.state.uploads.slot_seconds = 30
        waiting = asyncio.create_task(archive.http.post(f"{WEB}/studies", content=body, headers=headers))
        go_on.set()
        assert {(await slow).status_code, (await waiting).status_code} == {200}


async def test_an_upload_that_fails_gives_its_turn_to_the_next(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(max_concurrent_uploads=1)) as archive:
        for body in (b"--BOUNDARY\r\n\r\nhalf", b"nothing"):
            _, kind = multipart([])
            response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
            assert response.status_code == 400
        await archive.stow(ct_slice())


async def test_a_full_disk_is_503(archive: RunningQuery, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(uploads, "write_pack", full)
    body, kind = multipart([part10(ct_slice())])
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    assert response.status_code == 503
    assert "TMPDIR" in response.json()["detail"]
    assert not list((archive.folder / "uploading").iterdir())


async def test_a_pack_that_can_not_be_stored_fails_the_request_while_more_comes_in(
    archive: RunningQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.state.uploads.pack_size = 1
    store, calls = archive.objects.put_file, []

    async def fail_once(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise Unavailable("the store is down")
        await store(*arguments)

    monkeypatch.setattr(archive.objects, "put_file", fail_once)
    body, kind = multipart([part10(ct_slice()) for _ in range(4)])
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    assert response.status_code == 503
    assert not list((archive.folder / "uploading").iterdir())
    assert archive.state.uploads.waiting == 0
