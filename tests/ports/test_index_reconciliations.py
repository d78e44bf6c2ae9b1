"""The contract of `osteon.index` for reconciled studies: records, versions decided ahead, former identifiers."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from osteon.archive.conflicts import Version
from osteon.archive.errors import ResourceNotFound
from osteon.archive.pack_records import StoredPack
from osteon.contracts.conflicts import ConflictDecided
from osteon.contracts.packs import Origin
from osteon.contracts.reconciliation import Reconciliation
from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.dicom.query import MatchingKey, Search, Single
from osteon.index.sql import SqlIndex
from support.index.both_databases import *  # noqa: F403  (fixtures are found by name)
from support.index.stored_packs import check_sums, entry, pack, slices

STUDY, SERIES = "1.2.1", "1.2.1.1"
SOURCE = public_id("", STUDY)
WHEN = datetime(2026, 7, 1, tzinfo=UTC)


def reconciliation(number: int, study: str = STUDY, **changes: object) -> Reconciliation:
    made = Reconciliation(
        correlation_id="test", reconciliation_id=f"r{number:04d}", study_uid=study, sources=(SOURCE,),
        replace={"PatientID": "P9", "PatientName": "Doe^Jane"}, before={"PatientName": "UNKNOWN"},
        requester="someone", reason="identified", created_at=WHEN,
    )  # fmt: skip
    return made.model_copy(update=changes)


def as_received(n: int = 2) -> StoredPack:
    return pack(*slices(n, "", STUDY, SERIES, PatientName="UNKNOWN"), pack_id="0001")


def reconciled(received: StoredPack, patient: str = "P9", pack_id: str = "0002") -> StoredPack:
    entries = [
        entry(patient, STUDY, SERIES, each.identity.sop_uid, content=f"of {patient}", offset=each.offset,
              PatientName="Doe^Jane", Modality="CT")
        for each in received.instances
    ]  # fmt: skip
    made = pack(*entries, pack_id=pack_id)
    facts = made.facts.model_copy(update={"reconciled_by": "r0001"})
    return replace(made, facts=facts)


def decisions(kept: StoredPack, other: StoredPack, number: int = 1) -> list[ConflictDecided]:
    return [
        ConflictDecided(
            correlation_id="test", decision_id=f"d{number}-{i}", sop_instance_uid=one.identity.sop_uid,
            kept=one.sha256.hex(), other=two.sha256.hex(), decided_at=WHEN,
        )
        for i, (one, two) in enumerate(zip(kept.instances, other.instances, strict=True))
    ]  # fmt: skip


async def patients(index: SqlIndex) -> dict[str, str]:
    matches = (await index.search(Search(Level.IMAGE))).matches
    return {match.public_id: match.study.patient_attributes.get("PatientName", "") for match in matches if match.study}


async def test_records_are_kept_listed_and_replaced(index: SqlIndex) -> None:
    records = index.reconciliations
    first, second, other = reconciliation(1), reconciliation(2), reconciliation(3, "9.9")
    for each in (second, other, first):
        await records.put(each)
    assert await records.get("r0001") == first
    assert await records.known(["r0001", "r0004"]) == {"r0001"}
    assert await records.page() == [first, second, other]
    assert await records.page(after="r0001", limit=1) == [second]
    assert await records.page(study_uid="9.9") == [other]
    assert await records.of_studies([STUDY, "1"]) == {STUDY: [first, second]}
    undone = first.model_copy(update={"undone_at": WHEN, "undone_requester": "another"})
    await records.put(undone)
    assert await records.get("r0001") == undone
    assert await records.of_studies([STUDY, "9.9"]) == {STUDY: [second], "9.9": [other]}
    assert await records.page(active=False) == [undone]
    assert await records.page(active=True) == [second, other]
    with pytest.raises(ResourceNotFound):
        await records.get("r0009")


async def test_a_version_that_was_decided_ahead_is_served_as_soon_as_it_is_indexed(index: SqlIndex) -> None:
    received = as_received()
    made = reconciled(received)
    await index.upsert([received])
    await index.note_decisions(decisions(made, received))
    assert set((await patients(index)).values()) == {"UNKNOWN"}
    await index.upsert([made])
    assert await patients(index) == {
        public_id("P9", STUDY, SERIES, each.identity.sop_uid): "Doe^Jane" for each in received.instances
    }
    found = await index.search(Search(Level.STUDY, (MatchingKey(("PatientID",), Single("P9")),)))
    assert [match.public_id for match in found.matches] == [public_id("P9", STUDY)]
    assert await index.conflicts() == []
    assert len(await index.conflicts(resolved=True)) == 2
    await check_sums(index)


async def test_versions_say_which_is_served_and_how_each_came(index: SqlIndex) -> None:
    received = as_received()
    made = reconciled(received)
    uids = [each.identity.sop_uid for each in received.instances]

    def shown(version: Version) -> tuple[str, Origin, str]:
        return version.location.identity.patient_id, version.origin, version.reconciled_by

    await index.upsert([received])
    assert {uid: list(map(shown, v)) for uid, v in (await index.versions([*uids, "5"])).items()} == {
        uid: [("", Origin.DIMSE, "")] for uid in uids
    }
    await index.note_decisions(decisions(made, received))
    await index.upsert([made])
    assert {uid: list(map(shown, v)) for uid, v in (await index.versions(uids)).items()} == {
        uid: [("P9", Origin.DIMSE, "r0001"), ("", Origin.DIMSE, "")] for uid in uids
    }


async def test_the_study_as_it_was_received_is_known_whatever_it_is_called_now(index: SqlIndex) -> None:
    received = as_received()
    made = reconciled(received)
    await index.upsert([received])
    assert await index.sources_of(SOURCE) == {SOURCE}
    await index.note_decisions(decisions(made, received))
    await index.upsert([made])
    now = public_id("P9", STUDY)
    assert await index.sources_of(now) == {SOURCE}
    await index.upsert([pack(entry("P9", STUDY, SERIES, "1.2.1.1.77"), pack_id="0003")])
    assert await index.sources_of(now) == {SOURCE, now}
    with pytest.raises(ResourceNotFound):
        await index.sources_of(SOURCE)


async def test_former_identifiers_lead_to_what_resources_are_called_now_and_back(index: SqlIndex) -> None:
    received = as_received()
    made = reconciled(received)
    sop = received.instances[0].identity.sop_uid
    await index.upsert([received])
    with pytest.raises(ResourceNotFound):
        await index.current_id(Level.STUDY, SOURCE)
    await index.note_decisions(decisions(made, received))
    await index.upsert([made])
    for level, uids in ((Level.PATIENT, ()), (Level.STUDY, (STUDY,)), (Level.SERIES, (STUDY, SERIES)),
                        (Level.IMAGE, (STUDY, SERIES, sop))):  # fmt: skip
        assert await index.current_id(level, public_id("", *uids)) == public_id("P9", *uids)
    with pytest.raises(ResourceNotFound):
        await index.current_id(Level.SERIES, SOURCE)
    for back in decisions(received, made, 2):
        version = replace(received, instances=[e for e in received.instances if e.sha256.hex() == back.kept])
        await index.decide(back, version)
    assert set(await patients(index)) == {
        public_id("", STUDY, SERIES, each.identity.sop_uid) for each in received.instances
    }
    assert await index.current_id(Level.STUDY, public_id("P9", STUDY)) == SOURCE
    await check_sums(index)
