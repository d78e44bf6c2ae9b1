"""Metadata, attachments and protection beside a running Orthanc: the same requests get the same answers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from osteon.dicom.identity import public_id
from support.archive.orthanc import OrthancServer, needs_orthanc, running_orthanc
from support.dicom.real_files import BUNDLED
from support.query.application import QuerySettings, RunningQuery, door

pytestmark = [pytest.mark.slow, needs_orthanc]
FILE = BUNDLED / "CT_small.dcm"
UNKNOWN = public_id("nobody", "1.2.3")
NO_BODY = {304, 403}
"""Statuses without a body in Orthanc; here 403 says why."""


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    nobody: Any = SimpleNamespace(aet="NOBODY", dicom_port=11112, url="http://127.0.0.1:1")
    names = {"UserMetadata": {"note": 1024}, "UserContentType": {"report": [1024, "application/pdf"]}}
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), nobody, **names) as running:
        yield running


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[RunningQuery]:
    async with door(
        tmp_path, QuerySettings(user_metadata=("note=1024",), user_attachments=("report=1024:application/pdf",))
    ) as running:
        yield running


def digest(response: httpx.Response) -> str:
    return str(response.headers.get("ETag", "")).partition("-")[2]


async def compare(orthanc: OrthancServer, archive: RunningQuery, requests: list[tuple[Any, ...]]) -> None:
    """Send the same requests to both; a request is (method, path, body, headers), of which the last may be left out.

    `LAST` in a header is the last entity tag. Of these only the digests are compared: that version of Orthanc does not
    keep revisions in SQLite.
    """
    last = {"theirs": "", "ours": ""}
    for method, path, *rest in requests:
        body, headers = (*rest, *(b"", {})[len(rest) :])
        sent = {who: {name: value.replace("LAST", tag) for name, value in headers.items()} for who, tag in last.items()}
        theirs = orthanc.http.request(method, path, content=body, headers=sent["theirs"])
        ours = await archive.http.request(method, path, content=body, headers=sent["ours"])
        last = {"theirs": theirs.headers.get("ETag", last["theirs"]), "ours": ours.headers.get("ETag", last["ours"])}
        seen = f"{method} {path} {rest}: {ours.text[:300]} instead of {theirs.text[:300]}"
        assert ours.status_code == theirs.status_code, seen
        assert digest(ours) == digest(theirs), seen
        if theirs.status_code == 200:
            kinds = [each.headers["Content-Type"].partition(";")[0] for each in (ours, theirs)]
            assert kinds[0] == kinds[1], seen
            is_json = kinds[0] == "application/json"
            assert (ours.json() if is_json else ours.content) == (theirs.json() if is_json else theirs.content), seen
        elif theirs.status_code not in NO_BODY and theirs.content:
            assert ours.json()["OrthancStatus"] == theirs.json()["OrthancStatus"], seen


async def upload(orthanc: OrthancServer, archive: RunningQuery) -> dict[str, str]:
    """Store the same file in both; returns the identifiers, which are the same."""
    theirs = orthanc.http.post("/instances", content=FILE.read_bytes()).json()
    ours = (await archive.http.post("/instances", content=FILE.read_bytes())).json()
    assert {**theirs, "Status": ""} == {**ours, "Status": ""}
    return dict(ours)


async def test_metadata(orthanc: OrthancServer, archive: RunningQuery) -> None:
    ids = await upload(orthanc, archive)
    patient, study = f"/patients/{ids['ParentPatient']}", f"/studies/{ids['ParentStudy']}/metadata"
    instance = f"/instances/{ids['ID']}/metadata"
    await compare(orthanc, archive, [
        *(("GET", f"{instance}/{name}") for name in (
            "IndexInSeries", "Origin", "RemoteAET", "RemoteIP", "SopClassUid", "TransferSyntax", "PixelDataOffset",
            "7", "2000", "note", "Nothing",
        )),
        ("PUT", f"{study}/note", b"one"), ("GET", f"{study}/note"), ("GET", f"{study}/1024"), ("GET", study),
        ("PUT", f"{study}/1024", b"two"),
        ("PUT", f"{study}/1024", b"three", {"If-Match": '"0-nothing"'}),
        ("PUT", f"{study}/1024", b"three", {"If-Match": "nonsense"}),
        ("PUT", f"{study}/1025", b"", {"If-Match": '"7-nothing"'}), ("GET", f"{study}/1025"),
        ("GET", f"{study}/1024"), ("GET", f"{study}/1024", b"", {"If-None-Match": "LAST"}),
        ("GET", f"{study}/1024", b"", {"If-None-Match": '"0-other"'}), ("PUT", f"{study}/1024", b"four"),
        ("GET", f"{study}/1024"), ("PUT", f"{study}/1024", b"five", {"If-Match": "LAST"}), ("GET", f"{study}/1024"),
        ("PUT", f"{study}/LastUpdate", b"x"), ("DELETE", f"{study}/LastUpdate"), ("PUT", f"{study}/Nothing", b"x"),
        ("PUT", f"{study}/3000", b"x"), ("GET", study), ("DELETE", f"{study}/3000"), ("DELETE", f"{study}/3000"),
        ("DELETE", f"{study}/1024", b"", {"If-Match": '"0-nothing"'}), ("DELETE", f"{study}/1024"),
        ("PUT", f"{study}/1024", b"again"), ("GET", f"/series/{UNKNOWN}/metadata"),
        ("PUT", f"/studies/{UNKNOWN}/metadata/3000", b"x"),
        ("GET", f"{patient}/protected"), ("PUT", f"{patient}/protected", b"1"), ("GET", f"{patient}/protected"),
        ("PUT", f"{patient}/protected", b"0"), ("GET", f"{patient}/protected"),
    ])  # fmt: skip
    theirs = orthanc.http.get(f"{instance}?expand").json()
    ours = await archive.json(f"{instance}?expand")
    # There are no users here, and that version of Orthanc does not note the VR.
    assert theirs.keys() - ours.keys() == {"HttpUsername"}
    assert ours.keys() - theirs.keys() == {"PixelDataVR"}


async def test_attachments(orthanc: OrthancServer, archive: RunningQuery) -> None:
    ids = await upload(orthanc, archive)
    instance = f"/instances/{ids['ID']}/attachments"
    study = f"/studies/{ids['ParentStudy']}/attachments"
    text = b"hello " * 100
    facts = ("", "/data", "/size", "/md5", "/is-compressed", "/compressed-md5", "/compressed-size")
    await compare(orthanc, archive, [
        ("GET", study), ("GET", f"{study}?full"), ("PUT", f"{study}/report", b"one"), ("PUT", f"{study}/1030", text),
        ("GET", study), ("GET", f"{study}?full"),
        *(("GET", f"{study}/{name}{fact}") for name in ("report", "1030", "1031") for fact in facts),
        ("PUT", f"{study}/report", b"two"), ("PUT", f"{study}/report", b"x", {"If-Match": '"0-other"'}),
        ("PUT", f"{study}/report", b"x", {"If-Match": "nonsense"}), ("GET", f"{study}/report/data"),
        ("GET", f"{study}/report/data", b"", {"If-None-Match": "LAST"}), ("GET", f"{study}/report/data"),
        ("POST", f"{study}/1030/compress"), ("GET", f"{study}/1030/is-compressed"), ("GET", f"{study}/1030/data"),
        ("GET", f"{study}/1030/compressed-data"), ("GET", f"{study}/1030/compressed-size"),
        ("GET", f"{study}/1030/compressed-md5"), ("POST", f"{study}/1030/verify-md5"),
        ("POST", f"{study}/1030/uncompress"), ("GET", f"{study}/1030/compressed-data"),
        ("POST", f"{study}/1031/compress"), ("DELETE", f"{study}/1030"), ("DELETE", f"{study}/1030"),
        ("PUT", f"{study}/nothing", b"x"), ("PUT", f"{study}/1040", b""), ("GET", f"{study}/1040/data"),
        ("GET", f"/studies/{UNKNOWN}/attachments"), ("PUT", f"{instance}/dicom", b"x"), ("DELETE", f"{instance}/dicom"),
        ("POST", f"{instance}/dicom/uncompress"), ("POST", f"{instance}/dicom/verify-md5"), ("GET", instance),
    ])  # fmt: skip
    for fact in ("/size", "/md5", "/is-compressed", "/data", "/compressed-data", ""):
        # The entity tag of what was received is another one: its MD5 would have to be read first.
        theirs = orthanc.http.get(f"{instance}/dicom{fact}")
        ours = await archive.http.get(f"{instance}/dicom{fact}")
        assert (ours.json() if not fact else ours.content) == (theirs.json() if not fact else theirs.content)
