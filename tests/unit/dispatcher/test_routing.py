"""Routing: what rules send of indexed packs and of stable studies, once, and what they leave."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from osteon.archive.changes import ChangeType
from osteon.contracts.packs import PackIndexed, PackStored
from osteon.dicom.models import Level
from osteon.errors import DatabaseUnavailable
from osteon.jobs.port import Job
from osteon.packs import sidecar
from osteon.remotes.job_params import ModalityStoreParams, PeerStoreParams
from osteon.remotes.port import Modality
from osteon.rules.conditions import Candidate, RuleVerdict
from osteon.rules.parsing import stored_rule
from osteon.rules.port import StoredRule
from osteon_dispatcher import routing
from osteon_dispatcher.routing import Router
from osteon_dispatcher.stability_sweep import sweep
from support.dicom.datasets import ct_slice
from support.indexer.ports import IndexerPorts, indexer_room

STUDY, SERIES = "1.2.3", "1.2.3.4"
AI = [{"modality": "ai"}]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[IndexerPorts]:
    async with indexer_room(tmp_path) as made:
        yield made


@pytest.fixture
def router(room: IndexerPorts) -> Router:
    return Router(room.index, room.objects)


async def rule(room: IndexerPorts, name: str = "ct", when: str = "instance", send: Any = None, **more: Any) -> None:
    await room.index.rules.put(stored_rule(name, {"when": when, "send": send or AI, **more}))


async def indexed(room: IndexerPorts, pack_id: str, *datasets: Dataset, **facts: Any) -> PackIndexed:
    """Index a pack, with other facts than usual; returns the event that the indexer published."""
    stored = PackStored.model_validate({**(await room.put(pack_id, *datasets)).model_dump(), **facts})
    _, lines = sidecar.decode(await room.objects.get(*stored.sidecar))
    stored = await room.replace_sidecar(stored, sidecar.encode(stored, list(lines)))
    await room.run(stored)
    async with asyncio.timeout(10):
        while not any(event.pack_id == pack_id for event in room.indexed):
            await asyncio.sleep(0.001)
    return next(event for event in room.indexed if event.pack_id == pack_id)


async def jobs(room: IndexerPorts) -> list[Job]:
    return list(reversed(await room.index.jobs.list()))


def slice_(number: int = 1, **more: Any) -> Dataset:
    return ct_slice(study=STUDY, series=SERIES, number=number, **more)


async def study_id(room: IndexerPorts) -> str:
    (change,) = (await room.index.changes(types=(ChangeType.NEW_STUDY,))).changes
    return change.public_id


async def test_instances_that_match_go_to_each_destination_as_one_job(room, router):
    await rule(room, match={"InstanceNumber": {">=": 2}}, send=[{"modality": "ai"}, {"peer": "cloud"}], priority=7)
    event = await indexed(room, "p1", *(slice_(n) for n in (1, 2, 3)))
    await router.route_packs([event])
    first, second = await jobs(room)
    assert {first.type, second.type} == {ModalityStoreParams.TYPE, PeerStoreParams.TYPE}
    assert len(first.params["resources"]) == len(second.params["resources"]) == 2
    assert (first.priority, first.params["patience"], first.content["Rule"]) == (7, 259_200, "ct")


async def test_a_message_that_comes_again_makes_no_second_job(room, router):
    await rule(room)
    event = await indexed(room, "p1", slice_())
    for _ in range(3):
        await router.route_packs([event])
    await asyncio.gather(*(Router(room.index, room.objects).route_packs([event]) for _ in range(3)))
    assert len(await jobs(room)) == 1


async def test_what_was_known_already_is_not_sent_again(room, router):
    await rule(room)
    same = slice_()
    await router.route_packs([await indexed(room, "p1", same)])
    await router.route_packs([await indexed(room, "p2", same, slice_(2))])
    first, second = await jobs(room)
    assert set(first.params["resources"]).isdisjoint(second.params["resources"])
    await router.route_packs([await indexed(room, "p3", same)])
    assert len(await jobs(room)) == 2


async def test_a_rule_that_is_disabled_or_for_studies_sends_no_instances(room, router):
    await rule(room, enabled=False)
    await rule(room, "study", "study")
    await router.route_packs([await indexed(room, "p1", slice_())])
    assert await jobs(room) == []


async def test_nothing_goes_back_to_who_sent_it_unless_the_rule_says_so(room, router):
    await room.index.remotes.put_modality(Modality(name="ai", aet="AI", host="127.0.0.1", port=11112))
    await rule(room)
    await rule(room, "echo", return_to_sender=True)
    await router.route_packs([await indexed(room, "p1", slice_(), calling_aet="AI")])
    assert [job.content["Rule"] for job in await jobs(room)] == ["echo"]
    await router.route_packs([await indexed(room, "p2", slice_(), calling_aet="CT1")])
    assert len(await jobs(room)) == 3


async def test_a_rule_sees_who_sent_and_how(room, router):
    await rule(room, match={"CallingAET": "CT1", "Origin": "dimse", "TransferSyntaxUID": {"exists": True}})
    await router.route_packs([await indexed(room, "p1", slice_(), calling_aet="CT2")])
    assert await jobs(room) == []
    await router.route_packs([await indexed(room, "p2", slice_(2), calling_aet="CT1")])
    assert len(await jobs(room)) == 1


async def test_what_came_in_longer_ago_than_the_patience_is_not_sent(room, router):
    old = datetime.now(UTC) - timedelta(days=4)
    await rule(room)
    await rule(room, "patient", patience=5)
    await router.route_packs([await indexed(room, "p1", slice_(), received_at=old)])
    assert [job.content["Rule"] for job in await jobs(room)] == ["patient"]


async def test_a_rule_that_fails_is_reported_and_does_not_stop_the_others(room, router, monkeypatch):
    class Broken:
        def judge(self, _: Candidate) -> RuleVerdict:
            raise TypeError("bad type")

    await rule(room, "broken")
    await rule(room, "fine")
    parsed = routing.parse_stored
    monkeypatch.setattr(
        routing, "parse_stored", lambda r: replace(parsed(r), match=Broken()) if r.name == "broken" else parsed(r)
    )
    await router.route_packs([await indexed(room, "p1", slice_())])
    assert [job.content["Rule"] for job in await jobs(room)] == ["fine"]


async def test_packs_that_are_routed_together_share_one_reading_of_the_rules(room, router, monkeypatch):
    await rule(room)
    events = [await indexed(room, f"p{number}", slice_(number)) for number in range(1, 8)]
    readings = []
    read = room.index.rules.all

    async def counted():
        readings.append(1)
        return await read()

    monkeypatch.setattr(room.index.rules, "all", counted)
    await router.route_packs(events)
    assert (len(readings), len(await jobs(room))) == (1, 7)
    await room.index.rules.put(stored_rule("second", {"when": "instance", "send": AI}))
    await router.route_packs([await indexed(room, "p8", slice_(8))])
    assert {job.content["Rule"] for job in (await jobs(room))[7:]} == {"ct", "second"}


async def test_a_kept_rule_that_this_release_cannot_read_is_passed_over(room, router):
    await room.index.rules.put(StoredRule("later", {"when": "moon", "send": AI}, True))
    await rule(room)
    await router.route_packs([await indexed(room, "p1", slice_())])
    assert [job.content["Rule"] for job in await jobs(room)] == ["ct"]


async def test_a_pack_whose_sidecar_is_gone_is_passed_over(room, router):
    await rule(room)
    event = await indexed(room, "p1", slice_())
    await room.objects.delete(event.key)
    await router.route_packs([event])
    assert await jobs(room) == []


async def test_a_study_is_sent_when_it_is_stable_once_for_each_period(room, router):
    await rule(room, "s", "study")
    await indexed(room, "p1", slice_(1), slice_(2))
    await sweep(room.index, router, 3600)
    assert await jobs(room) == []
    await sweep(room.index, router, -1)
    (job,) = await jobs(room)
    assert job.params["resources"] == [await study_id(room)]
    await sweep(room.index, router, -1)
    assert len(await jobs(room)) == 1
    await indexed(room, "p2", slice_(3))
    await sweep(room.index, router, -1)
    assert len(await jobs(room)) == 2


async def test_two_dispatchers_send_a_stable_study_once(room):
    await rule(room, "s", "study")
    for n in range(6):
        await indexed(room, f"p{n}", ct_slice(PatientID=f"P{n}"))
    routers = [Router(room.index, room.objects) for _ in range(2)]
    await asyncio.gather(*(sweep(room.index, router, -1) for router in routers))
    await sweep(room.index, routers[0], -1)
    page = await room.index.changes(types=(ChangeType.STABLE_STUDY,))
    assert len(page.changes) == len({change.public_id for change in page.changes}) == len(await jobs(room)) == 6


async def test_only_what_matches_of_a_study_is_sent_unless_the_rule_wants_all_of_it(room, router):
    match = {"InstanceNumber": 1}
    await rule(room, "part", "study", match=match)
    await rule(room, "whole", "study", match=match, whole_study=True)
    await rule(room, "none", "study", match={"Modality": "MR"}, whole_study=True)
    await indexed(room, "p1", slice_(1))
    await indexed(room, "p2", slice_(2))
    await sweep(room.index, router, -1)
    sent = {job.content["Rule"]: job.params["resources"] for job in await jobs(room)}
    assert sent.keys() == {"part", "whole"}
    assert sent["whole"] == [await study_id(room)]
    instance = await room.index.get(Level.IMAGE, sent["part"][0])
    assert instance.instance.attributes["InstanceNumber"] == "1"


async def test_a_study_that_cannot_be_read_does_not_hold_up_the_next(room, router):
    await rule(room, "s", "study")
    corrupt = await indexed(room, "p1", ct_slice(PatientID="P1"))
    await indexed(room, "p2", ct_slice(PatientID="P2"))
    await room.replace_sidecar(corrupt, b"nonsense")
    await sweep(room.index, router, -1)
    assert len(await jobs(room)) == 1


async def test_after_an_outage_studies_are_routed_from_where_it_stopped(room, router, monkeypatch):
    await rule(room, "s", "study")
    for n in range(3):
        await indexed(room, f"p{n}", ct_slice(PatientID=f"P{n}"))
    submit, calls = room.index.jobs.submit, []

    async def flaky(*args: Any, **more: Any) -> Job:
        calls.append(more["key"])
        if len(calls) == 2:
            raise DatabaseUnavailable("down")
        return await submit(*args, **more)

    monkeypatch.setattr(room.index.jobs, "submit", flaky)
    with pytest.raises(DatabaseUnavailable):
        await sweep(room.index, router, -1)
    await sweep(room.index, router, -1)
    assert len(await jobs(room)) == 3
    assert len(calls) == 4
