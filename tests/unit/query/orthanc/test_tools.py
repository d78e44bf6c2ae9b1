"""Orthanc REST: `/tools` that describe the archive, and what it refuses."""

import pytest
from pydicom.uid import UID

from support.dicom.datasets import ct_slice
from support.query.application import RunningQuery


async def test_uids_are_made_for_each_level(archive: RunningQuery) -> None:
    uids = {(await archive.http.get("/tools/generate-uid?level=study")).text for _ in range(20)}
    assert len(uids) == 20
    assert all(UID(uid).is_valid for uid in uids)
    assert (await archive.http.get("/tools/generate-uid?level=patient")).text
    assert (await archive.http.get("/tools/generate-uid")).status_code == 400


async def test_what_is_fixed_is_said_and_not_changed(archive: RunningQuery) -> None:
    assert (await archive.http.get("/tools/default-encoding")).text == "Utf8"
    assert (await archive.http.put("/tools/default-encoding", content="Utf8")).status_code == 200
    refused = await archive.http.put("/tools/default-encoding", content="Latin1")
    assert (refused.status_code, refused.json()["HttpStatus"]) == (403, 403)
    assert (await archive.http.get("/tools/log-level-dicom")).text == "default"
    syntaxes = await archive.json("/tools/accepted-transfer-syntaxes")
    assert {"1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90"} <= set(syntaxes)
    assert "osteon_" in (await archive.http.get("/tools/metrics-prometheus")).text
    listed = await archive.json("/tools")
    assert {"find", "lookup", "generate-uid", "execute-script"} <= set(listed)


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/tools/execute-script"), ("DELETE", "/changes"), ("PUT", "/tools/accepted-transfer-syntaxes"),
])  # fmt: skip
async def test_what_is_never_done_is_refused_in_orthancs_shape(archive: RunningQuery, method: str, path: str) -> None:
    answer = await archive.http.request(method, path, content="print(1)")
    body = answer.json()
    assert (answer.status_code, body["HttpStatus"], body["OrthancStatus"], body["Method"]) == (403, 403, 45, method)
    assert body["Details"]


async def test_many_resources_are_described_at_once(archive: RunningQuery) -> None:
    await archive.stow(ct_slice())
    (study,), (instance,) = await archive.json("/studies"), await archive.json("/instances")
    missing = "07a6ec1c-1be5920b-18ef5358-d24441f3-10e926ea"
    answer = await archive.http.post("/tools/bulk-content", json={"Resources": [study, missing, instance]})
    assert [(each["Type"], each["ID"]) for each in answer.json()] == [("Study", study), ("Instance", instance)]
    only = await archive.http.post("/tools/bulk-content", json={"Resources": [study, instance], "Level": "Study"})
    assert [each["ID"] for each in only.json()] == [study]
    assert (await archive.http.post("/tools/bulk-content", json={"Resources": study})).status_code == 400


async def test_reconstruct_and_exports_answer_as_orthanc_does(archive: RunningQuery) -> None:
    await archive.stow(ct_slice())
    (study,) = await archive.json("/studies")
    assert (await archive.http.post("/tools/reconstruct")).json() == {}
    assert (await archive.http.post(f"/studies/{study}/reconstruct")).json() == {}
    assert (
        await archive.http.post("/studies/07a6ec1c-1be5920b-18ef5358-d24441f3-10e926ea/reconstruct")
    ).status_code == 404
    assert await archive.json("/exports") == {"Exports": [], "Done": True, "Last": 0}
    assert (await archive.http.delete("/exports")).status_code == 200
