"""What `/system` and `/plugins` claim is there: a check for each claim."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from support.dicom.datasets import ct_slice
from support.query.application import QuerySettings, RunningQuery, door

Check = Callable[[RunningQuery, Any], Awaitable[None]]
VALUES = {"DA": "20240102", "TM": "101112", "IS": "1", "DS": "1", "US": 7, "AS": "030Y", "SH": "-0500", "UI": "1.2.3"}


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[RunningQuery]:
    async with door(tmp_path, QuerySettings(user_metadata=("note=1024",), check_revisions=True)) as running:
        yield running


async def stored(archive: RunningQuery) -> dict[str, str]:
    """Store an instance that has every attribute, and return the paths of its levels."""
    system = await archive.json("/system")
    dataset = ct_slice()
    for names in system["MainDicomTags"].values():
        for name in names.split(";"):
            tag = tag_for_keyword(name)
            assert tag is not None, name
            if name not in dataset:
                number = 6 if name == "ImageOrientationPatient" else 3 if name == "ImagePositionPatient" else 1
                value = VALUES.get(dictionary_VR(tag), "x")
                setattr(dataset, name, [value] * number if number > 1 else value)
    await archive.stow(dataset)
    return {
        kind: f"/{segment}/{(await archive.json(f'/{segment}'))[0]}"
        for kind, segment in (
            ("Patient", "patients"), ("Study", "studies"), ("Series", "series"), ("Instance", "instances"),
        )
    }  # fmt: skip


async def main_tags(archive: RunningQuery, claim: dict[str, str]) -> None:
    for kind, path in (await stored(archive)).items():
        shown = (await archive.json(path))["MainDicomTags"]
        assert set(claim[kind].split(";")) == set(shown), kind


async def capabilities(archive: RunningQuery, claim: dict[str, bool]) -> None:
    assert claim == {"HasChangesExtended": True, "HasExtendedFind": True}
    await stored(archive)
    changes = (await archive.json("/changes?type=NewStudy;NewPatient&to=1000&limit=5"))["Changes"]
    assert {each["ChangeType"] for each in changes} == {"NewStudy", "NewPatient"}
    body = {
        "Level": "Study", "Query": {}, "ResponseContent": ["MainDicomTags", "Parent"], "Limit": 1, "Since": 0,
        "OrderBy": [{"Type": "Metadata", "Key": "LastUpdate", "Direction": "DESC"}], "MetadataQuery": {},
        "ParentPatient": (await archive.json("/patients"))[0],
    }  # fmt: skip
    (found,) = (await archive.http.post("/tools/find", json=body)).json()
    assert set(found) >= {"ID", "Type", "MainDicomTags", "ParentPatient"}
    assert (await archive.http.post("/tools/count-resources", json=body)).json()["Count"] == 1


async def revisions(archive: RunningQuery, claim: bool) -> None:
    path = f"{(await stored(archive))['Study']}/metadata/1024"
    first = await archive.http.put(path, content=b"x")
    assert first.status_code == 200
    again = await archive.http.put(path, content=b"y")
    assert (again.status_code == 409) is claim
    assert (await archive.http.put(path, content=b"y", headers={"If-Match": first.headers["ETag"]})).status_code == 200


async def labels(archive: RunningQuery, claim: bool) -> None:
    assert claim
    path = (await stored(archive))["Study"]
    assert (await archive.http.put(f"{path}/labels/urgent")).status_code == 200
    body = {"Level": "Study", "Query": {}, "Labels": ["urgent"]}
    assert (await archive.http.post("/tools/find", json=body)).json() == [path.split("/")[2]]


async def overwriting(archive: RunningQuery, claim: bool) -> None:
    assert claim is archive.settings.serves_newest


async def user_metadata(archive: RunningQuery, claim: dict[str, int]) -> None:
    path = (await stored(archive))["Study"]
    for name, code in claim.items():
        assert (await archive.http.put(f"{path}/metadata/{name}", content=b"x")).status_code == 200
        assert (await archive.http.get(f"{path}/metadata/{code}")).text == "x"


async def patients(archive: RunningQuery, claim: bool) -> None:
    assert claim
    path = (await stored(archive))["Patient"]
    assert (await archive.http.put(f"{path}/protected", content=b"1")).status_code == 200


async def writable(archive: RunningQuery, claim: bool) -> None:
    assert not claim
    await stored(archive)


async def plugins_listed(archive: RunningQuery, claim: bool) -> None:
    assert claim is bool(await archive.json("/plugins"))


def is_exactly(expected: Any) -> Check:
    async def check(_: RunningQuery, claim: Any) -> None:
        assert claim == expected

    return check


CHECKS: dict[str, Check] = {
    "ApiVersion": is_exactly(30), "Version": is_exactly("1.12.11"),
    "Capabilities": capabilities, "CheckRevisions": revisions, "HasLabels": labels, "MainDicomTags": main_tags,
    "OverwriteInstances": overwriting, "PatientLevelEnabled": patients, "PluginsEnabled": plugins_listed,
    "ReadOnly": writable, "UserMetadata": user_metadata,
    "DicomAet": is_exactly("OSTEON"), "DicomPort": is_exactly(4242), "HttpPort": is_exactly(8042),
    "IsHttpServerSecure": is_exactly(False), "MaximumPatientCount": is_exactly(0), "MaximumStorageSize": is_exactly(0),
    "MaximumStorageMode": is_exactly("Reject"), "StorageCompression": is_exactly(False),
    "IngestTranscoding": is_exactly(""), "DatabaseBackendPlugin": is_exactly(None),
    "StorageAreaPlugin": is_exactly(None), "DatabaseVersion": is_exactly(6), "Name": is_exactly("Osteon"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
async def test_what_the_archive_says_of_itself_is_there(archive: RunningQuery, name: str) -> None:
    await CHECKS[name](archive, (await archive.json("/system"))[name])


async def test_every_claim_has_its_check(archive: RunningQuery) -> None:
    assert (await archive.json("/system")).keys() - {"OsteonVersion"} == CHECKS.keys()


async def test_the_plugin_for_dicomweb_has_its_routes(archive: RunningQuery) -> None:
    assert await archive.json("/plugins") == ["dicom-web"]
    root = (await archive.json("/plugins/dicom-web"))["RootUri"]
    paths = set((await archive.json("/openapi.json"))["paths"])
    study, series, instance = root + "/{study}", "/series/{series}", "/instances/{instance}"
    scopes = (study, study + series, study + series + instance)
    frame = scopes[2] + "/frames/{frames}"
    expected = {f"{scope}{what}" for scope in scopes for what in ("", "/metadata", "/rendered", "/thumbnail")}
    expected |= {f"{frame}{what}" for what in ("", "/rendered", "/thumbnail")} | {scopes[2] + "/bulk/{path}"}
    expected |= {root, f"{study}/series", f"{study}/instances", f"{scopes[1]}/instances"}
    expected |= {"/dicom-web/series", "/dicom-web/instances", "/wado", "/dicom-web/servers"}
    expected |= {
        f"/dicom-web/servers/{{name}}/{what}" for what in ("get", "qido", "retrieve", "stow", "wado", "delete")
    }
    assert expected <= paths, sorted(expected - paths)
