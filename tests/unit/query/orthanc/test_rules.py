"""REST of routing rules and destinations: change, dry run, what has failed and its replay."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from osteon.jobs.port import JobOutcome, JobState
from osteon.remotes.job_params import ModalityStoreParams, PeerStoreParams
from osteon.remotes.port import Modality
from support.dicom.datasets import ct_slice
from support.query.application import RunningQuery, door

RULE = {"when": "study", "match": {"Modality": "CT", "InstanceNumber": [1, 2]}, "send": [{"modality": "ai"}]}


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[RunningQuery]:
    async with door(tmp_path) as running:
        yield running


async def put(archive: RunningQuery, name: str, body: Any, status: int = 200) -> str:
    response = await archive.http.put(f"/rules/{name}", json=body)
    assert response.status_code == status, response.text
    return response.text


async def post(archive: RunningQuery, path: str, body: Any = None, status: int = 200) -> Any:
    response = await archive.http.post(path, json=body or {})
    assert response.status_code == status, response.text
    return response.json()


async def study_of(archive: RunningQuery) -> str:
    slices = [ct_slice(study="1.2.3", series=f"1.2.3.{n}", number=n) for n in (1, 2, 3)]
    await archive.stow(*slices)
    (study,) = await archive.json("/studies")
    return study


async def failed_job(archive: RunningQuery, order: Any, rule: str) -> str:
    job = await archive.index.jobs.submit(order.TYPE, {**order.params(), "rule": rule})
    await archive.index.jobs.claim("w", [order.TYPE], 30)
    await archive.index.jobs.finish(job.id, "w", JobOutcome(state=JobState.FAILURE, error="no route"))
    return job.id


async def test_a_rule_is_put_listed_shown_disabled_and_deleted(archive):
    await put(archive, "ct", RULE)
    assert await archive.json("/rules") == ["ct"]
    assert await archive.json("/rules/ct") == {**RULE, "enabled": True}
    await post(archive, "/rules/ct/disable")
    assert await archive.json("/rules?expand") == {"ct": {**RULE, "enabled": False}}
    await post(archive, "/rules/ct/enable")
    assert (await archive.json("/rules/ct"))["enabled"] is True
    assert (await archive.http.delete("/rules/ct")).status_code == 200
    for response in (await archive.http.get("/rules/ct"), await archive.http.delete("/rules/ct")):
        assert response.status_code == 404


async def test_a_rule_that_can_not_be_used_is_refused_with_its_key(archive):
    assert "match.Modalty" in await put(archive, "ct", {**RULE, "match": {"Modalty": "CT"}}, 400)
    assert "send[0].folder" in await put(archive, "ct", {**RULE, "send": [{"folder": "x"}]}, 400)
    assert "name of a rule" in await put(archive, "dry-run", RULE, 400)
    assert await archive.json("/rules") == []


async def test_a_dry_run_tells_what_matches_why_and_what_would_be_sent(archive):
    study = await study_of(archive)
    await put(archive, "ct", RULE)
    told = await post(archive, "/rules/ct/dry-run", {"Study": study})
    (rule,) = told["Rules"]
    assert (told["Instances"], rule["Matches"], len(rule["Instances"])) == (3, 2, 3)
    because = {each["Because"] for each in rule["Instances"] if not each["Matches"]}
    assert because == {"InstanceNumber (0020,0013) is '3', not as wanted: in [1, 2]"}
    (sent,) = rule["Sends"]
    assert (sent["Destination"], sent["Instances"]) == ("modality:ai", 2)
    assert set(sent["Resources"]) == {each["ID"] for each in rule["Instances"] if each["Matches"]}
    assert await archive.index.jobs.list() == []


async def test_a_dry_run_tries_rules_that_are_not_kept(archive):
    study = await study_of(archive)
    rules = {"all": {**RULE, "match": {}}, "none": {**RULE, "match": {"Modality": "MR"}, "enabled": False}}
    told = await post(archive, "/rules/dry-run", {"Study": study, "Rules": rules})
    every, none = told["Rules"]
    assert every["Sends"] == [{"Destination": "modality:ai", "Instances": 3, "Resources": [study]}]
    assert (none["Enabled"], none["Matches"], none["Sends"]) == (False, 0, [])
    assert await archive.json("/rules") == []


async def test_a_dry_run_tells_what_is_not_sent_back(archive):
    study = await study_of(archive)
    await archive.index.remotes.put_modality(Modality(name="ai", aet="", host="h", port=1))
    told = await post(archive, "/rules/dry-run", {"Study": study, "Rules": {"a": {**RULE, "patience": 0}}})
    assert "ago" in told["Rules"][0]["Sends"][0]["Skipped"]


async def test_a_dry_run_of_nothing_is_refused(archive):
    await put(archive, "ct", RULE)
    await post(archive, "/rules/ct/dry-run", {}, 400)
    await post(archive, "/rules/dry-run", {"Study": 3}, 400)
    await post(archive, "/rules/ct/dry-run", {"Study": "0" * 8}, 404)
    await post(archive, "/rules/none/dry-run", {"Study": "x"}, 404)
    bad = await archive.http.post("/rules/dry-run", json={"Study": "x", "Rules": {"a": {"when": "x"}}})
    assert (bad.status_code, "Rules: a: when" in bad.text) == (400, True)


async def test_what_a_rule_could_not_send_is_listed_and_submitted_again(archive):
    order = ModalityStoreParams(modality="ai", resources=("x",))
    first = await failed_job(archive, order, "ct")
    other = await failed_job(archive, order, "other")
    (shown,) = await archive.json("/rules/ct/failed")
    assert (shown["ID"], shown["Destination"], shown["ErrorDetails"]) == (first, "modality:ai", "no route")
    assert await post(archive, "/rules/ct/replay") == {"Replayed": [first]}
    assert await archive.json("/rules/ct/failed") == []
    assert (await archive.index.jobs.get(first)).state is JobState.PENDING
    assert (await archive.index.jobs.get(other)).state is JobState.FAILURE


async def test_what_a_destination_did_not_get_is_submitted_again_and_it_is_tried_at_once(archive):
    now = datetime.now(UTC)
    to_peer = await failed_job(archive, PeerStoreParams(peer="ai", resources=("x",)), "ct")
    to_modality = await failed_job(archive, ModalityStoreParams(modality="ai", resources=("x",)), "ct")
    await archive.index.circuits.failed("modality:ai", "no route", now)
    await archive.index.circuits.open("modality:ai", now + timedelta(hours=1))
    assert [job["ID"] for job in await archive.json("/destinations/peer/ai/failed")] == [to_peer]
    assert await post(archive, "/destinations/modality/ai/replay") == {"Replayed": [to_modality]}
    assert await archive.index.circuits.get("modality:ai") is None
    await post(archive, "/destinations/folder/ai/replay", status=404)


async def test_destinations_show_their_state_and_their_rules(archive):
    now = datetime.now(UTC)
    await put(archive, "ct", {**RULE, "send": [{"modality": "ai"}, {"peer": "cloud"}]})
    await archive.index.circuits.failed("modality:ai", "no route", now)
    await archive.index.circuits.open("modality:ai", now + timedelta(hours=1))
    found = await archive.json("/destinations")
    assert found["peer:cloud"] == {"State": "closed", "Failures": 0, "Rules": ["ct"]}
    assert {key: found["modality:ai"][key] for key in ("State", "Failures", "Error", "Rules")} == {
        "State": "open", "Failures": 1, "Error": "no route", "Rules": ["ct"],
    }  # fmt: skip
    await post(archive, "/destinations/modality/ai/reset")
    assert (await archive.json("/destinations"))["modality:ai"]["State"] == "closed"


async def test_is_stable_and_the_change_log_say_the_same(archive):
    study = await study_of(archive)
    assert (await archive.json(f"/studies/{study}"))["IsStable"] is False
    await archive.index.stability.mark_stable(datetime.now(UTC) + timedelta(seconds=1))
    assert (await archive.json(f"/studies/{study}"))["IsStable"] is True
    (change,) = (await archive.json("/changes?type=StableStudy"))["Changes"]
    assert (change["ID"], change["ResourceType"], change["ChangeType"]) == (study, "Study", "StableStudy")
    types = {each["ChangeType"] for each in (await archive.json("/changes"))["Changes"]}
    assert {"StablePatient", "StableStudy", "StableSeries"} <= types
