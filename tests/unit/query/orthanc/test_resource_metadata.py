"""Metadata of resources over the embedded ports, and whether patients are protected."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from osteon.dicom.models import Level
from osteon.user_data.limits import MAX_METADATA, MAX_METADATA_BYTES
from osteon_query.orthanc.resource_json import timestamp
from support.dicom.datasets import ct_slice
from support.dicom.real_files import BUNDLED
from support.query.application import QuerySettings, RunningQuery, door
from unit.query.orthanc.test_labels import SEGMENTS, send
from unit.query.orthanc.test_resources import UNKNOWN, id_of, upload

NAMES = ("note=1024", "reader=1025")


def etag(revision: int, value: str) -> str:
    return f'"{revision}-{hashlib.md5(value.encode()).hexdigest()}"'


async def stored(archive: RunningQuery) -> str:
    """Store a study; returns its path."""
    dataset = ct_slice()
    await archive.stow(dataset)
    return f"/studies/{id_of(dataset, 2)}"


async def put(
    archive: RunningQuery, path: str, value: str | bytes, status: int = 200, **headers: str
) -> httpx.Response:
    return await send(archive, "PUT", path, status, content=value, headers=headers)


@pytest.mark.parametrize("depth", range(4))
async def test_a_resource_of_each_level_gets_metadata_shows_and_loses_them(archive: RunningQuery, depth: int) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    path = f"/{SEGMENTS[depth]}/{id_of(dataset, depth + 1)}/metadata"
    system = await archive.json(f"{path}?expand")
    await send(archive, "GET", f"{path}/1024", 404)
    for revision, value in enumerate(("one\ntwo ü", "", "three")):
        answer = await put(archive, f"{path}/1024", value)
        assert (answer.content, answer.headers["ETag"]) == (b"", etag(revision, value))
        answer = await send(archive, "GET", f"{path}/1024")
        assert (answer.text, answer.headers["ETag"]) == (value, etag(revision, value))
        assert answer.headers["Content-Type"].startswith("text/plain")
    assert await archive.json(f"{path}?expand") == {**system, "1024": "three"}
    assert (await archive.json(path))[-1] == "1024"
    assert (await archive.json(f"{path}?numeric"))[-1] == 1024
    assert (await send(archive, "DELETE", f"{path}/1024")).content == b""
    await send(archive, "DELETE", f"{path}/1024", 404)
    assert await archive.json(f"{path}?expand") == system


async def test_names_are_those_of_the_setting(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(user_metadata=NAMES)) as archive:
        assert (await archive.json("/system"))["UserMetadata"] == {"note": 1024, "reader": 1025}
        path = f"{await stored(archive)}/metadata"
        await put(archive, f"{path}/note", "a")
        await put(archive, f"{path}/1025", "b")
        found = await archive.json(f"{path}?expand")
        assert (found.pop("note"), found.pop("reader"), list(found)) == ("a", "b", ["LastUpdate"])
        numeric = await archive.json(f"{path}?expand&numeric")
        assert (numeric["1024"], numeric["1025"]) == ("a", "b")
        assert (await send(archive, "GET", f"{path}/1024")).text == "a"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_unknown_name_or_resource_is_404(archive: RunningQuery, method: str) -> None:
    path = await stored(archive)
    for name in ("nothing", "70000", "-1"):
        answer = await send(archive, method, f"{path}/metadata/{name}", 404)
        assert answer.json()["OrthancStatus"] == 7
    await send(archive, method, f"/studies/{UNKNOWN}/metadata/1024", 404)
    await send(archive, "GET", f"/studies/{UNKNOWN}/metadata", 404)


async def test_what_the_archive_notes_itself_can_only_be_read(archive: RunningQuery) -> None:
    path = f"{await stored(archive)}/metadata"
    for name in ("LastUpdate", "7", "1023", "ModifiedFrom"):
        await put(archive, f"{path}/{name}", "x", 403)
        await send(archive, "DELETE", f"{path}/{name}", 403)


async def test_the_archive_notes_of_an_instance_what_orthanc_does(archive: RunningQuery) -> None:
    answer = await upload(archive, (BUNDLED / "CT_small.dcm").read_bytes())
    path = f"/instances/{answer['ID']}/metadata"
    found = await archive.json(f"{path}?expand")
    match = await archive.index.get(Level.IMAGE, answer["ID"])
    assert match.instance is not None
    assert found == {
        "IndexInSeries": "1", "ReceptionDate": timestamp(match.instance.received), "RemoteAET": "",
        "Origin": "RestApi", "TransferSyntax": "1.2.840.10008.1.2.1", "SopClassUid": "1.2.840.10008.5.1.4.1.1.2",
        "RemoteIP": "127.0.0.1", "PixelDataOffset": "6288", "PixelDataVR": "OW",
    }  # fmt: skip
    assert list(found) == await archive.json(path)
    assert (await send(archive, "GET", f"{path}/SopClassUid")).headers["ETag"] == etag(0, found["SopClassUid"])


async def test_a_revision_that_a_client_has_is_not_sent_again(archive: RunningQuery) -> None:
    path = f"{await stored(archive)}/metadata/1024"
    tag = (await put(archive, path, "a")).headers["ETag"]
    answer = await send(archive, "GET", path, 304, headers={"If-None-Match": tag})
    assert (answer.content, answer.headers["ETag"]) == (b"", tag)
    await put(archive, path, "b")
    await send(archive, "GET", path, headers={"If-None-Match": tag})
    await send(archive, "GET", path, 400, headers={"If-None-Match": "nonsense"})


async def test_a_change_that_names_another_revision_is_refused(archive: RunningQuery) -> None:
    path = f"{await stored(archive)}/metadata/1024"
    first = (await put(archive, path, "a", **{"If-Match": '"7-of-nothing"'})).headers["ETag"]
    second = (await put(archive, path, "b", **{"If-Match": first})).headers["ETag"]
    for method in ("PUT", "DELETE"):
        answer = await send(archive, method, path, 409, headers={"If-Match": first})
        assert answer.json()["OrthancStatus"] == 43
        await send(archive, method, path, 400, headers={"If-Match": "nonsense"})
    assert (await send(archive, "GET", path)).text == "b"
    await send(archive, "DELETE", path, headers={"If-Match": second})


async def test_with_the_setting_every_change_must_name_its_revision(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(check_revisions=True)) as archive:
        assert (await archive.json("/system"))["CheckRevisions"] is True
        path = f"{await stored(archive)}/metadata/1024"
        await send(archive, "DELETE", path, 409)
        tag = (await put(archive, path, "a")).headers["ETag"]
        await put(archive, path, "b", 409)
        await send(archive, "DELETE", path, 409)
        tag = (await put(archive, path, "b", **{"If-Match": tag})).headers["ETag"]
        await send(archive, "DELETE", path, headers={"If-Match": tag})


@pytest.mark.parametrize(
    ("value", "status"), [(b"\xff", 400), (b"a\x00b", 400), (b"x" * (MAX_METADATA_BYTES + 1), 413)]
)
async def test_a_value_is_text_of_limited_length(archive: RunningQuery, value: bytes, status: int) -> None:
    path = f"{await stored(archive)}/metadata/1024"
    await put(archive, path, value, status)
    await send(archive, "GET", path, 404)
    await put(archive, path, b"x" * MAX_METADATA_BYTES)


async def test_one_resource_has_a_limited_number_of_metadata(archive: RunningQuery) -> None:
    path = f"{await stored(archive)}/metadata"
    for code in range(1024, 1024 + MAX_METADATA):
        await put(archive, f"{path}/{code}", "a")
    assert "100 metadata at most" in (await put(archive, f"{path}/2000", "a", 413)).json()["Details"]
    await put(archive, f"{path}/1024", "b")


async def test_changes_of_metadata_are_in_the_change_log(archive: RunningQuery) -> None:
    path = await stored(archive)
    last = (await archive.json("/changes?last"))["Last"]
    await put(archive, f"{path}/metadata/1024", "a")
    await send(archive, "DELETE", f"{path}/metadata/1024")
    found: list[dict[str, Any]] = (await archive.json(f"/changes?since={last}&type=UpdatedMetadata"))["Changes"]
    assert [(each["ChangeType"], each["Path"]) for each in found] == [("UpdatedMetadata", path)] * 2


async def test_a_patient_is_protected_and_says_so(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    path = f"/patients/{id_of(dataset, 1)}"
    for body, protected in (("0", False), ("1", True), ("1\n", True), ("0", False)):
        await put(archive, f"{path}/protected", body)
        assert (await send(archive, "GET", f"{path}/protected")).text == str(int(protected))
        assert (await archive.json(path))["IsProtected"] is protected
    await put(archive, f"{path}/protected", "perhaps", 400)
    await put(archive, f"/patients/{UNKNOWN}/protected", "1", 404)


async def found(archive: RunningQuery, **body: Any) -> list[Any]:
    answer = await send(archive, "POST", "/tools/find", json={"Level": "Study", "Query": {}, **body})
    return list(answer.json())


async def test_resources_are_found_and_sorted_by_metadata(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(user_metadata=NAMES)) as archive:
        paths = [await stored(archive) for _ in range(3)]
        ids = [path.rpartition("/")[2] for path in paths]
        for path, value in zip(paths, ("new", "Done", "doing"), strict=True):
            await put(archive, f"{path}/metadata/note", value)
        await put(archive, f"{paths[0]}/metadata/1025", "me")
        assert await found(archive, MetadataQuery={"note": "done"}) == [ids[1]]
        assert await found(archive, MetadataQuery={"note": "done"}, CaseSensitive=True) == []
        assert await found(archive, MetadataQuery={"1024": "do*"}) == ids[1:]
        assert await found(archive, MetadataQuery={"note": "new\\done", "reader": "*"}) == [ids[0]]
        count = {"Level": "Study", "Query": {}, "MetadataQuery": {"note": "do*"}}
        assert (await send(archive, "POST", "/tools/count-resources", json=count)).json() == {"Count": 2}
        for direction, step in (("ASC", 1), ("DESC", -1)):
            order = [{"Type": "Metadata", "Key": "note", "Direction": direction}]
            assert await found(archive, OrderBy=order) == [ids[2], ids[1], ids[0]][::step]


@pytest.mark.parametrize(
    "body",
    [
        {"MetadataQuery": {"nothing": "x"}}, {"MetadataQuery": {"SopClassUid": "x"}}, {"MetadataQuery": {"1024": 1}},
        {"MetadataQuery": []}, {"OrderBy": [{"Type": "Metadata", "Key": "SopClassUid"}]},
        {"ResponseContent": ["Everything"]},
    ],
    ids=str,
)  # fmt: skip
async def test_a_find_by_what_no_one_can_find_by_is_refused(archive: RunningQuery, body: dict[str, Any]) -> None:
    await send(archive, "POST", "/tools/find", 400, json={"Level": "Study", "Query": {}, **body})


async def test_the_parts_of_objects_that_are_requested_are_shown(archive: RunningQuery) -> None:
    path = await stored(archive)
    await put(archive, f"{path}/metadata/1024", "a")
    await put(archive, f"{path}/attachments/1030", "hello")
    await send(archive, "PUT", f"{path}/labels/x")
    whole = await archive.json(path)
    (shown,) = await found(archive, ResponseContent=["Labels", "Metadata", "Attachments"])
    digest = hashlib.md5(b"hello").hexdigest()
    assert shown == {
        "ID": whole["ID"], "Type": "Study", "Labels": ["x"],
        "Metadata": {"LastUpdate": whole["LastUpdate"], "1024": "a"},
        "Attachments": [{
            "Name": "1030", "ContentType": 1030, "UncompressedSize": 5, "CompressedSize": 5,
            "UncompressedMD5": digest, "CompressedMD5": digest,
        }],
    }  # fmt: skip
    (shown,) = await archive.json("/studies?response-content=MainDicomTags;Children;Parent")
    assert shown == {key: value for key, value in whole.items() if key not in ("IsStable", "LastUpdate", "Labels")}
    (shown,) = await archive.json("/instances?response-content=Attachments")
    assert [each["Name"] for each in shown["Attachments"]] == ["dicom"]
    assert shown.keys() == {"ID", "Type", "Attachments", "FileSize", "FileUuid"}
