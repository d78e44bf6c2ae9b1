"""The contract of `osteon.commitment.port.Commitments`, over SQLite and PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from osteon.commitment.port import (
    Commitment,
    CommitmentFailure,
    CommitmentItem,
    CommitmentNotFound,
    CommitmentRole,
    Commitments,
    FailureReason,
)
from osteon.index.sql import SqlIndex
from support.index.stored_packs import CT, MR, sqlite_url

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
ITEMS = (CommitmentItem(CT, "1.2.3"), CommitmentItem(MR, "1.2.4"))
ASKED = Commitment(
    id="a", role=CommitmentRole.SCP, transaction_uid="1.9", remote_aet="CT1", local_aet="HERE", remote="192.0.2.1",
    items=ITEMS,
    created=NOW, watched=LATER,
)  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def commitments(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Commitments]:
    postgres = request.param == "postgres"
    index = SqlIndex(str(request.getfixturevalue("index_url")) if postgres else sqlite_url(tmp_path / "i.db"))
    await index.start()
    yield index.commitments
    await index.close()


async def test_a_transaction_comes_back_as_it_was_begun(commitments):
    assert await commitments.begin(ASKED) == ASKED
    assert await commitments.get("a") == ASKED


async def test_what_is_not_there_is_not_found(commitments):
    for call in (
        commitments.get("a"), commitments.by_transaction("1.9"), commitments.record_result("a", []),
        commitments.watch_until("a", None),
        commitments.record_report("a", NOW),
    ):  # fmt: skip
        with pytest.raises(CommitmentNotFound):
            await call


async def test_how_it_ended_is_kept(commitments):
    await commitments.begin(ASKED)
    failure = CommitmentFailure(ITEMS[1], FailureReason.NO_SUCH_OBJECT_INSTANCE)
    await commitments.record_result("a", [failure])
    assert await commitments.get("a") == replace(ASKED, failures=(failure,))
    assert (await commitments.get("a")).successes == (ITEMS[0],)
    await commitments.record_report("a", LATER)
    assert await commitments.get("a") == replace(ASKED, failures=(failure,), reported=LATER, watched=None)


async def test_that_all_is_committed_is_not_the_same_as_not_known_yet(commitments):
    await commitments.begin(ASKED)
    assert (await commitments.get("a")).successes == ()
    await commitments.record_result("a", [])
    assert (await commitments.get("a")).successes == ITEMS


async def test_the_same_request_again_is_the_same_transaction_in_whatever_order_its_items_come(commitments):
    await commitments.begin(ASKED)
    again = replace(ASKED, id="b", items=ITEMS[::-1], created=LATER)
    assert await commitments.begin(again) == ASKED
    with pytest.raises(CommitmentNotFound):
        await commitments.get("b")


async def test_the_same_request_after_its_report_begins_anew(commitments):
    await commitments.begin(ASKED)
    await commitments.record_result("a", [])
    await commitments.record_report("a", NOW)
    begun = await commitments.begin(replace(ASKED, id="b", created=LATER))
    assert begun == await commitments.get("a") == replace(ASKED, created=LATER, watched=None)


async def test_other_items_under_a_used_transaction_uid_have_all_failed(commitments):
    await commitments.begin(ASKED)
    begun = await commitments.begin(replace(ASKED, id="b", items=ITEMS[:1]))
    assert begun.failures == (CommitmentFailure(ITEMS[0], FailureReason.DUPLICATE_TRANSACTION_UID),)
    assert await commitments.get("b") == begun
    assert (await commitments.get("a")).failures is None
    await commitments.record_report("b", NOW)
    assert (await commitments.begin(replace(ASKED, id="c", items=ITEMS[:1]))).failures == begun.failures


@pytest.mark.parametrize("other", [{"remote_aet": "CT2"}, {"role": CommitmentRole.SCU}], ids=str)
async def test_transaction_uids_are_those_of_one_application_entity_in_one_role(commitments, other):
    await commitments.begin(ASKED)
    begun = await commitments.begin(replace(ASKED, id="b", items=ITEMS[:1], **other))
    assert (begun.id, begun.failures) == ("b", None)


async def test_our_own_requests_are_found_by_their_transaction_uid(commitments):
    await commitments.begin(ASKED)
    mine = await commitments.begin(replace(ASKED, id="b", role=CommitmentRole.SCU))
    assert await commitments.by_transaction("1.9") == mine


async def test_old_transactions_are_forgotten(commitments):
    await commitments.begin(ASKED)
    await commitments.begin(replace(ASKED, id="b", transaction_uid="1.10", created=LATER))
    assert await commitments.prune(LATER) == 1
    assert (await commitments.get("b")).id == "b"


@pytest.mark.slow
async def test_many_thousand_items_come_back(commitments):
    many = tuple(CommitmentItem(CT, f"1.2.840.99999.1.{n}") for n in range(20_000))
    await commitments.begin(replace(ASKED, items=many))
    await commitments.record_result("a", [CommitmentFailure(item, 0x0112) for item in many])
    assert len((await commitments.get("a")).failures or ()) == 20_000
