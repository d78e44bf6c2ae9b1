"""The contract of `osteon.index` for contested instances: who is served, decisions, what a lost pack leaves behind."""

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from osteon.archive.changes import ChangeType
from osteon.archive.conflicts import VersionComparison
from osteon.archive.errors import ResourceNotFound
from osteon.archive.pack_records import InstanceState, PackOutcome, StoredPack
from osteon.archive.resources import InstanceScope
from osteon.contracts.conflicts import ConflictDecided
from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.dicom.query import MatchingKey, Search, Single
from osteon.index import database
from osteon.index.port import Index
from osteon.index.sql import SqlIndex
from support.fuzz.case_counts import thinned
from support.index.both_databases import *  # noqa: F403  (fixtures are found by name)
from support.index.stored_packs import MR, check_sums, entry, pack, sqlite_url

UID = "1.2.1.1.1"
FIRST = pack(entry("P1", PatientName="Doe^Jane", StudyDescription="first", Modality="CT"), pack_id="1")
SECOND = pack(
    entry("P1", content="other", length=70, offset=2048, PatientName="Roe^Ann", Modality="CT", InstanceNumber="7"),
    pack_id="2",
)
ELSEWHERE = pack(
    entry("P2", "9.9", "9.9.1", UID, content="elsewhere", length=70, sop_class=MR, PatientName="Poe", Modality="MR"),
    pack_id="3",
)
NUMBERS = itertools.count(1)


def decided(kept: StoredPack, other: StoredPack) -> ConflictDecided:
    number = next(NUMBERS)
    return ConflictDecided(
        correlation_id="test", decision_id=f"d{number:06d}", sop_instance_uid=kept.instances[0].identity.sop_uid,
        kept=kept.instances[0].sha256.hex(), other=other.instances[0].sha256.hex(),
        decided_at=datetime(2026, 5, 1, 0, 0, number % 60, tzinfo=UTC),
    )  # fmt: skip


async def served(index: Index) -> list[tuple[str, bytes]]:
    return [(at.key, at.sha256) async for at in index.locate(InstanceScope())]


async def everything(index: SqlIndex) -> dict[str, object]:
    """Return all that an index made again must have too."""
    found: dict[str, object] = {}
    for level in Level:
        for match in (await index.search(Search(level))).matches:
            resource = match.instance or match.series or match.study or match.patient
            found[match.public_id] = resource if match.instance else replace(resource, updated=None)
    found["totals"] = await index.statistics()
    conflicts = await index.conflicts(resolved=None)
    found["conflicts"] = sorted((replace(c, id=0, detected=None) for c in conflicts), key=str)
    found["outcomes"] = {p: dict(await index.outcome(p)) for p in "123"}
    found["packs"] = [each async for each in index.pack_rows()]
    return found


def at(each: StoredPack) -> tuple[str, bytes]:
    return each.facts.key, each.instances[0].sha256


async def test_a_conflict_tells_how_both_versions_came(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([SECOND])
    (listed,) = await index.conflicts()
    conflict = await index.conflict(listed.id)
    assert conflict == listed
    assert (conflict.first, conflict.second, conflict.resolved) == (conflict.served, conflict.aside, None)
    assert (conflict.first.pack_id, conflict.second.pack_id) == ("1", "2")
    assert (conflict.second.calling_aet, conflict.second.received) == ("CT1", SECOND.facts.received_at)
    assert conflict.second.location.length == 70
    with pytest.raises(ResourceNotFound, match="9999"):
        await index.conflict(9999)


async def test_conflicts_are_listed_by_study_and_state(index: SqlIndex) -> None:
    await index.upsert([FIRST, ELSEWHERE, pack(entry("P5", "5", "5.1", "5.1.1")), pack(entry("P5", "5", "5.1", "5.1.1",
                        content="other"))])  # fmt: skip

    async def uids(**of: object) -> list[str]:
        return [c.aside.location.identity.sop_uid for c in await index.conflicts(**of)]

    assert await uids() == [UID, "5.1.1"]
    assert await uids(study_uid="1.2.1") == await uids(study_uid="9.9") == [UID]
    await index.decide(decided(FIRST, ELSEWHERE))
    assert await uids() == ["5.1.1"]
    assert await uids(resolved=True) == [UID]
    assert await uids(resolved=None) == [UID, "5.1.1"]
    assert await uids(resolved=True, study_uid="5") == []


async def test_to_keep_the_first_closes_the_conflict_and_changes_nothing_else(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([SECOND])
    before, last = await everything(index), await index.last_change()
    decision = decided(FIRST, SECOND)
    for _ in range(2):
        await index.decide(decision, SECOND)
    after = await everything(index)
    assert (await index.statistics()).conflicts == 0
    (conflict,) = await index.conflicts(resolved=True)
    assert conflict.resolved == decision.decided_at
    assert await index.last_change() == last
    assert [after[k] for k in after if k not in ("totals", "conflicts")] == [
        before[k] for k in before if k not in ("totals", "conflicts")
    ]


async def test_the_second_version_takes_the_place_of_the_first_with_its_attributes(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([pack(entry("P1", "1.2.1", "1.2.1.1", "1.2.1.1.2", PatientName="Doe^Jane", StudyID="7"))])
    await index.upsert([SECOND])
    decision = decided(SECOND, FIRST)
    await index.decide(decision, SECOND)
    assert at(SECOND) in await served(index)
    assert at(FIRST) not in await served(index)
    (match,) = (await index.search(Search(Level.IMAGE, (MatchingKey(("SOPInstanceUID",), Single(UID)),)))).matches
    assert match.instance.attributes["InstanceNumber"] == "7"
    assert match.patient.attributes["PatientName"] == match.study.patient_attributes["PatientName"] == "Roe^Ann"
    assert match.study.attributes["StudyID"] == "7"
    assert (match.series.instances, match.series.size) == (2, 1070)
    for name, n in (("Doe^Jane", 0), ("Roe^Ann", 1)):
        assert await index.count(Search(Level.STUDY, (MatchingKey(("PatientName",), Single(name)),))) == n
    (conflict,) = await index.conflicts(resolved=True)
    assert (conflict.served.pack_id, conflict.aside.pack_id) == ("2", "1")
    assert (conflict.first.pack_id, conflict.second.pack_id) == ("1", "2")
    await check_sums(index)


async def test_a_version_of_another_patient_moves_the_instance_and_what_is_empty_goes(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([ELSEWHERE])
    last = (await index.last_change()).seq
    await index.decide(decided(ELSEWHERE, FIRST), ELSEWHERE)
    (match,) = (await index.search(Search(Level.IMAGE))).matches
    assert match.patient.attributes["PatientName"] == "Poe"
    assert match.public_id == public_id("P2", "9.9", "9.9.1", UID)
    assert [await index.count(Search(level)) for level in Level] == [1, 1, 1, 1]
    assert (await index.get(Level.STUDY, public_id("P2", "9.9"))).study.sop_classes == (MR,)
    with pytest.raises(ResourceNotFound):
        await index.get(Level.PATIENT, public_id("P1"))
    changes = (await index.changes(since=last)).changes
    assert [(c.type, c.level, c.public_id) for c in changes] == [
        (ChangeType.DELETED, Level.IMAGE, public_id("P1", "1.2.1", "1.2.1.1", UID)),
        (ChangeType.DELETED, Level.SERIES, public_id("P1", "1.2.1", "1.2.1.1")),
        (ChangeType.DELETED, Level.STUDY, public_id("P1", "1.2.1")),
        (ChangeType.DELETED, Level.PATIENT, public_id("P1")),
        (ChangeType.NEW_PATIENT, Level.PATIENT, public_id("P2")),
        (ChangeType.NEW_STUDY, Level.STUDY, public_id("P2", "9.9")),
        (ChangeType.NEW_SERIES, Level.SERIES, public_id("P2", "9.9", "9.9.1")),
        (ChangeType.NEW_INSTANCE, Level.IMAGE, public_id("P2", "9.9", "9.9.1", UID)),
    ]
    await check_sums(index)


async def test_a_mind_may_be_changed_and_the_last_decision_holds(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([ELSEWHERE])
    before = await everything(index)
    early, late = decided(ELSEWHERE, FIRST), decided(FIRST, ELSEWHERE)
    await index.decide(early, ELSEWHERE)
    await index.decide(late, FIRST)
    assert await served(index) == [at(FIRST)]
    after = await everything(index)
    assert {k: v for k, v in after.items() if k not in ("totals", "conflicts")} == {
        k: v for k, v in before.items() if k not in ("totals", "conflicts")
    }
    await index.decide(early, ELSEWHERE)
    assert await served(index) == [at(FIRST)]
    await check_sums(index)


async def test_a_third_version_is_a_new_conflict_with_what_was_decided_for(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([SECOND])
    await index.decide(decided(SECOND, FIRST), SECOND)
    third = pack(entry(content="third"), pack_id="0-early")
    await index.upsert([third])
    assert await served(index) == [at(SECOND)]
    (conflict,) = await index.conflicts()
    assert conflict.aside.pack_id == "0-early"
    assert (await index.statistics()).conflicts == 1
    await index.decide(decided(third, SECOND), third)
    assert await served(index) == [at(third)]
    assert {c.aside.pack_id for c in await index.conflicts(resolved=True)} == {"1", "2"}
    await check_sums(index)


@pytest.mark.slow
@pytest.mark.parametrize("versions", [(FIRST, SECOND), (FIRST, ELSEWHERE), (FIRST, SECOND, ELSEWHERE)],
                         ids=["same-series", "other-patient", "three"])  # fmt: skip
@pytest.mark.parametrize("keep", [None, 0, 1, -1], ids=["open", "first", "second", "last"])
async def test_any_order_of_packs_and_decisions_gives_the_same_index(
    index: SqlIndex, tmp_path: Path, url: str, versions: tuple[StoredPack, ...], keep: int | None
) -> None:
    decision = None if keep is None else decided(versions[keep], versions[0 if keep else 1])
    steps: list[StoredPack | ConflictDecided] = [*versions, *([decision] if decision else [])]

    async def take(each: SqlIndex, step: StoredPack | ConflictDecided) -> None:
        if isinstance(step, ConflictDecided):
            await each.decide(step, next(v for v in versions if v.instances[0].sha256.hex() == step.kept))
        else:
            await each.upsert([step])

    for step in steps:
        await take(index, step)
    expected = await everything(index)
    await check_sums(index)
    orders = thinned(list(itertools.permutations(steps))) if url.startswith("sqlite") else [tuple(reversed(steps))]
    for number, order in enumerate(orders):
        other = SqlIndex(sqlite_url(tmp_path / f"{number}.db"))
        for step in order:
            await take(other, step)
        assert [where for where, _ in await served(other)] == [where for where, _ in await served(index)]
        assert (await everything(other))["totals"] == expected["totals"]
        assert (await everything(other))["conflicts"] == expected["conflicts"]
        await check_sums(other)
        await other.close()


async def test_versions_that_come_out_of_order_are_served_as_they_were_sent(index: SqlIndex) -> None:
    await index.upsert([SECOND])
    (outcome,) = await index.upsert([FIRST])
    assert outcome == PackOutcome("1", 1, 0, 0)
    assert (await index.upsert([SECOND]))[0] == PackOutcome("2", 0, 0, 1)
    assert await served(index) == [at(FIRST)]
    (match,) = (await index.search(Search(Level.STUDY))).matches
    assert match.study.attributes["StudyDescription"] == "first"
    assert match.patient.attributes["PatientName"] == "Doe^Jane"
    await check_sums(index)


async def test_a_decision_may_come_while_the_same_versions_come_again(
    index: SqlIndex, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeated: list[BaseException] = []
    may_repeat = database._may_repeat
    monkeypatch.setattr(database, "_may_repeat", lambda error: may_repeat(error) and not repeated.append(error))
    await index.upsert([FIRST])
    await index.upsert([ELSEWHERE])
    second = SqlIndex(url, pool=4)
    again = [
        pack(entry("P2", "9.9", "9.9.1", UID, content="elsewhere", length=70, sop_class=MR), pack_id=f"8-{n}")
        for n in range(6)
    ] + [pack(entry("P1"), pack_id=f"9-{n}") for n in range(6)]  # fmt: skip
    writers = [(index, second)[n % 2].upsert([each]) for n, each in enumerate(again)]
    decisions = [decided(ELSEWHERE, FIRST), decided(FIRST, ELSEWHERE), decided(ELSEWHERE, FIRST)]
    versions = [ELSEWHERE, FIRST, ELSEWHERE]
    await asyncio.gather(*writers, *(second.decide(d, v) for d, v in zip(decisions, versions, strict=True)))
    assert repeated == []  # all patients are locked at once, so nobody waits in a circle
    assert [sha256 for _, sha256 in await served(index)] == [ELSEWHERE.instances[0].sha256]
    (conflict,) = await index.conflicts(resolved=None)
    assert conflict.aside.location.sha256 == FIRST.instances[0].sha256
    assert (await index.statistics()).conflicts == 0
    await check_sums(index)
    await second.close()


async def test_bytes_that_are_kept_aside_are_served_when_they_come_in_a_pack_begun_before(index: SqlIndex) -> None:
    versions = {name: pack(entry(content=name), pack_id=name[-1]) for name in ("a5", "b6")}
    await index.upsert([*versions.values()])
    earlier = pack(entry(content="b6"), pack_id="3")
    assert await index.upsert([earlier]) == [PackOutcome("3", 1, 0, 0)]
    assert await served(index) == [at(earlier)]
    (conflict,) = await index.conflicts()
    assert conflict.aside.pack_id == "5"
    again = await index.upsert([*versions.values()])
    assert [(each.pack_id, each.conflicts, each.redundant) for each in again] == [("5", 1, False), ("6", 0, True)]
    assert (await index.statistics()).packs == 2
    await check_sums(index)


async def test_rows_of_a_lost_pack_are_taken_over_by_one_with_the_same_bytes(index: SqlIndex) -> None:
    await index.upsert([pack(entry(), entry("P1", "1.2.1", "1.2.1.1", "1.2.1.1.2", offset=4096), pack_id="1")])
    again = pack(entry(offset=9999, length=1010), entry("P1", "1.2.1", "1.2.1.1", "1.2.1.1.3"), pack_id="2")
    await index.upsert([again])
    assert await index.repoint(again, ["no-such-pack"]) == PackOutcome("2", 1, 1, 0)
    assert await index.repoint(again, ["1"]) == PackOutcome("2", 2, 0, 0)
    assert {at.identity.sop_uid: (at.key, at.offset) async for at in index.locate(InstanceScope())} == {
        "1.2.1.1.1": (again.facts.key, 9999),
        "1.2.1.1.2": (pack(entry(), pack_id="1").facts.key, 4096),
        "1.2.1.1.3": (again.facts.key, 512),
    }
    checksums = {at.identity.sop_uid: at.xxh3 async for at in index.locate(InstanceScope())}
    assert checksums["1.2.1.1.1"] == again.instances[0].xxh3 != entry().xxh3
    assert dict(await index.outcome("1"))["1.2.1.1.1"] == "duplicate"
    assert (await index.statistics()).size == 3010
    await check_sums(index)


async def test_other_bytes_do_not_take_over_rows_of_a_lost_pack(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([SECOND])
    await index.repoint(SECOND, ["1"])
    assert await served(index) == [at(FIRST)]


async def test_a_lost_version_that_was_kept_aside_is_taken_over_too(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([SECOND])
    again = replace(SECOND, facts=SECOND.facts.model_copy(update={"pack_id": "4"}))
    await index.upsert([again])
    await index.repoint(again, ["2"])
    (where,) = await index.conflicting_versions([UID])
    assert where.key == again.facts.key


async def test_packs_are_listed_in_the_order_of_their_ids_with_what_is_in_them(index: SqlIndex) -> None:
    await index.upsert([SECOND, FIRST, pack(entry(), pack_id="0")])
    found = [each async for each in index.pack_rows()]
    assert [(p.pack_id, p.stored, p.conflicts, p.instances, p.aside, p.end) for p in found] == [
        ("0", 1, 0, 1, 0, 1512), ("1", 0, 0, 0, 0, 0), ("2", 0, 1, 0, 1, 2118),
    ]  # fmt: skip
    assert [p.pack_id async for p in index.pack_rows(after="0")] == ["1", "2"]
    assert [p async for p in index.pack_rows(study_uid="9.9")] == []
    assert [m.sha256 async for m in index.pack_members("2")] == [SECOND.instances[0].sha256]
    assert (await index.statistics()).packs == 2


def compared(each: StoredPack, same_as: StoredPack | None) -> VersionComparison:
    """Return what a comparison of a pack's first instance has found."""
    first = each.instances[0]
    return VersionComparison(first.identity.sop_uid, first.sha256, same_as.instances[0].sha256 if same_as else None)


async def test_a_version_that_says_the_same_becomes_a_duplicate_as_if_it_had_the_same_bytes(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    before, last = await everything(index), await index.last_change()
    await index.upsert([SECOND])
    for _ in range(2):
        outcome = await index.note_comparisons(SECOND, [compared(SECOND, FIRST)])
        assert outcome == PackOutcome("2", stored=0, duplicates=1, conflicts=0)
    assert outcome.redundant
    assert await index.conflicts(resolved=None) == []
    assert await index.outcome("2") == {UID: InstanceState.DUPLICATE}
    after = await everything(index)
    assert after["totals"] == before["totals"]
    assert await served(index) == [at(FIRST)]
    assert await index.last_change() == last
    assert (await index.upsert([SECOND]))[0] == outcome
    await check_sums(index)


async def test_versions_that_differ_are_compared_once(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([SECOND])
    await index.upsert([pack(entry("P5", "5", "5.1", "5.1.1")), pack(entry("P5", "5", "5.1", "5.1.1", content="b"))])
    assert len(await index.uncompared()) == 2
    (found,) = await index.uncompared(sop_uids=[UID])
    assert found.aside.pack_id == "2"
    assert (await index.note_comparisons(SECOND, [compared(SECOND, None)])).conflicts == 1
    assert await index.uncompared(sop_uids=[UID]) == []
    assert await index.uncompared(after=found.id) == await index.uncompared()
    assert (await index.statistics()).conflicts == 2


async def test_what_a_person_has_decided_is_not_undone_by_a_comparison(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([SECOND])
    await index.decide(decided(SECOND, FIRST), SECOND)
    before = await everything(index)
    await index.note_comparisons(FIRST, [compared(FIRST, SECOND)])
    assert await everything(index) == before


async def test_a_comparison_with_a_version_that_is_gone_changes_nothing(index: SqlIndex) -> None:
    await index.upsert([FIRST])
    await index.upsert([SECOND])
    before = await everything(index)
    await index.note_comparisons(SECOND, [compared(SECOND, ELSEWHERE)])
    assert await everything(index) == before


async def test_further_copies_of_a_duplicate_are_duplicates_too(index: SqlIndex) -> None:
    copy = pack(entry("P1", content="other", length=70, offset=2048, PatientName="Roe^Ann"), pack_id="3")
    await index.upsert([FIRST, SECOND, copy])
    await index.note_comparisons(SECOND, [compared(SECOND, FIRST)])
    assert (await index.note_comparisons(copy, [])).redundant
    await check_sums(index)


async def test_comparisons_at_the_same_time_count_once(index: SqlIndex, url: str) -> None:
    await index.upsert([FIRST])
    await index.upsert([SECOND])
    other = SqlIndex(url, pool=4)
    await other.start()
    found = [compared(SECOND, FIRST)]
    await asyncio.gather(*(each.note_comparisons(SECOND, found) for each in (index, other, index, other)))
    assert (await index.statistics()).conflicts == 0
    assert (await index.statistics()).packs == 1
    await check_sums(index)
    await other.close()


@pytest.mark.parametrize("order", list(itertools.permutations((0, 1, 2))), ids=str)
async def test_the_newest_version_is_served_in_any_order_once_it_is_known_to_differ(
    url: str, order: tuple[int, ...]
) -> None:
    index = SqlIndex(url, pool=4, newest=True)
    await index.start()
    versions = (FIRST, SECOND, ELSEWHERE)
    for number in order:
        await index.upsert([versions[number]])
    first_to_come = versions[order[0]]
    assert await served(index) == [at(first_to_come)]
    for each in versions:
        await index.note_comparisons(each, [compared(each, None)])
    assert await served(index) == [at(ELSEWHERE)]
    assert {c.aside.pack_id for c in await index.conflicts()} == {"1", "2"}
    await check_sums(index)
    await index.decide(decided(FIRST, ELSEWHERE), FIRST)
    assert await served(index) == [at(FIRST)]
    await index.note_comparisons(ELSEWHERE, [])
    assert await served(index) == [at(FIRST)]
    await check_sums(index)
    await index.close()
