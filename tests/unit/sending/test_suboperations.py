"""Counters and statuses of sub-operations."""

import pytest

from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.sending.suboperations import (
    MAX_FAILED_UID_BYTES,
    SubOperationCounts,
    SubOperationOutcome,
    SubOperationResult,
)
from support.dimse.raw_peer import CT, EXPLICIT


def sent(status: int | None, uid: str = "1.2.3", error: str = "") -> SubOperationResult:
    instance = PlannedInstance(
        sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT, key="k", offset=0, length=1
    )
    return SubOperationResult(instance, None if status is None else Outcome(Status(status), "why"), error)


@pytest.mark.parametrize(
    ("status", "counts"),
    [(0x0000, "completed"), (0xB000, "warning"), (0xB007, "warning"), (0xA700, "failed"), (0xFE00, "failed"),
     (0xFF00, "failed"), (0x0122, "failed"), (None, "failed")],
)  # fmt: skip
def test_only_an_answer_of_success_or_warning_means_that_the_peer_has_it(status, counts):
    assert sent(status).counts_as is SubOperationOutcome(counts)


@pytest.mark.parametrize(
    ("statuses", "final"),
    [([], 0x0000), ([0, 0], 0x0000), ([0, 0xA700], 0xB000), ([0, 0xB000], 0xB000), ([0xA700, None], 0xA702),
     ([0xB000, 0xA700], 0xB000)],
)  # fmt: skip
def test_the_final_status_says_whether_all_some_or_none_were_sent(statuses, final):
    tally = SubOperationCounts(remaining=len(statuses))
    for status in statuses:
        tally.add(sent(status))
    assert tally.final().status == final
    assert tally.remaining == 0


def test_what_failed_is_listed_with_the_first_reason():
    tally = SubOperationCounts(remaining=4)
    for status, uid in ((0, "1.1"), (0xA700, "1.2"), (None, "1.3")):
        tally.add(sent(status, uid, "gone" if status is None else ""))
    final = tally.final()
    assert (final.failed_uids, final.comment) == (("1.2", "1.3"), "answered 0xA700 why")
    assert (final.completed, final.failed, final.warning, final.remaining) == (1, 2, 0, 1)


def test_the_list_of_failed_uids_fits_into_a_value_of_vr_ui():
    tally = SubOperationCounts(remaining=3000)
    for number in range(3000):
        tally.add(sent(None, f"1.2.{number:055}", "gone"))
    assert tally.failed == 3000
    assert 60_000 < len("\\".join(tally.failed_uids)) <= MAX_FAILED_UID_BYTES
    again = SubOperationCounts(failed_uids=list(tally.failed_uids))
    again.add(sent(None, f"1.2.{1:055}"))
    assert again.failed_uids == tally.failed_uids


def test_what_is_given_up_counts_as_failed():
    tally = SubOperationCounts(remaining=3)
    tally.add(sent(0))
    tally.give_up("nobody there")
    assert (tally.failed, tally.remaining, tally.comment) == (2, 0, "nobody there")
    assert tally.final(cancelled=True).status is Status.CANCEL
