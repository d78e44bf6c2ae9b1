"""Which instances an identifier means, and what is said of one that means none; over SQLite and PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from osteon.archive.resources import InstanceScope
from osteon.contracts.retrieve import PlannedInstance, RetrievePlanReply, RetrievePlanRequest
from osteon.dimse.failure_status import RETRIEVE_STATUSES
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.errors import DatabaseUnavailable
from osteon.index.port import Index
from osteon.index.sql import SqlIndex
from osteon_dispatcher import plan as planning
from osteon_dispatcher.plan import plan
from support.bus.messages import failure_of
from support.dimse.raw_peer import EXPLICIT, IMPLICIT
from support.index.stored_packs import pack, slices, sqlite_url, uids

ROOT = "1.2.840.10008.5.1.4.1.2"
PATIENT_GET, STUDY_MOVE, COMPOSITE_GET, ONLY_MOVE = f"{ROOT}.1.3", f"{ROOT}.2.2", f"{ROOT}.4.3", f"{ROOT}.3.2"
FIRST, SECOND = slices(3, "P1", "1.2.1", "1.2.1.1"), slices(3, "P1", "1.2.1", "1.2.1.2")
OTHER_STUDY, OTHER_PATIENT = slices(3, "P1", "1.2.2", "1.2.2.1"), slices(3, "p1", "1.2.3", "1.2.3.1")
ALL = (FIRST, SECOND, OTHER_STUDY, OTHER_PATIENT)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Index]:
    made = SqlIndex(url)
    await made.start()
    for entries in ALL:
        await made.upsert([pack(*entries)])
    yield made
    await made.close()


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    async with opened(sqlite_url(tmp_path / "index.db")) as made:
        yield made


def asked(model: str = STUDY_MOVE, syntax: str = EXPLICIT, **keys: object) -> RetrievePlanRequest:
    dataset, buffer = Dataset(), DicomBytesIO()
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    buffer.is_little_endian, buffer.is_implicit_VR = True, syntax == IMPLICIT
    write_dataset(buffer, dataset)
    return RetrievePlanRequest(
        correlation_id="a", sop_class_uid=model, transfer_syntax_uid=syntax, identifier=buffer.getvalue()
    )


async def pages(request: RetrievePlanRequest, index: Index) -> list[RetrievePlanReply]:
    found = [await plan(request, index)]
    while found[-1].cursor is not None:
        found.append(await plan(request.model_copy(update={"cursor": found[-1].cursor}), index))
    return found


async def refused(request: RetrievePlanRequest, index: Index | None) -> Outcome:
    """Return what the requester is answered when there is no plan."""
    return RETRIEVE_STATUSES.outcome(await failure_of(plan(request, index)))


async def meant(request: RetrievePlanRequest, index: Index) -> list[str]:
    found = await pages(request, index)
    instances = [each.sop_instance_uid for page in found for each in page.instances]
    assert found[0].total == len(instances)
    return instances


NAMES = [
    "patient", "patient only", "study", "studies", "study of another", "series", "series of two studies",
    "series of another", "instance", "composite",
]  # fmt: skip
CASES = [
        (PATIENT_GET, {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, [*FIRST, *SECOND, *OTHER_STUDY]),
    (ONLY_MOVE, {"QueryRetrieveLevel": "PATIENT", "PatientID": "p1"}, OTHER_PATIENT),
    (STUDY_MOVE, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.1"}, [*FIRST, *SECOND]),
    (STUDY_MOVE, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ["1.2.2", "1.2.3", "1.9"]},
         [*OTHER_STUDY, *OTHER_PATIENT]),
    (PATIENT_GET, {"QueryRetrieveLevel": "STUDY", "PatientID": "P1", "StudyInstanceUID": "1.2.3"}, []),
    (STUDY_MOVE, {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.1.2"},
         SECOND),
    (STUDY_MOVE, {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": ["1.2.1.2", "1.2.2.1"]},
         [*SECOND, *OTHER_STUDY]),
    (STUDY_MOVE, {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2.2", "SeriesInstanceUID": "1.2.1.2"}, []),
    (PATIENT_GET, {"QueryRetrieveLevel": "IMAGE", "PatientID": "P1", "StudyInstanceUID": "1.2.1",
                       "SeriesInstanceUID": "1.2.1.1", "SOPInstanceUID": "1.2.1.1.2"}, [FIRST[1]]),
    (COMPOSITE_GET, {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": ["1.2.1.1.3", "1.2.2.1.1"]},
         [FIRST[2], OTHER_STUDY[0]]),
]  # fmt: skip


@pytest.mark.parametrize(("model", "keys", "expected"), CASES, ids=NAMES)
async def test_every_level_means_its_instances_in_the_order_of_their_bytes(index, model, keys, expected):
    assert await meant(asked(model, **keys), index) == uids(expected)
    assert await meant(asked(model, IMPLICIT, **keys), index) == uids(expected)


@pytest.mark.slow
async def test_every_level_means_the_same_in_postgresql(index_url):
    async with opened(index_url) as index:
        for model, keys, expected in CASES:
            assert await meant(asked(model, **keys), index) == uids(expected), keys


async def test_pages_give_each_instance_once_and_the_total_comes_first(index, monkeypatch):
    monkeypatch.setattr(planning, "PAGE", 2)
    request = asked(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.1")
    found = await pages(request, index)
    assert [(page.total, len(page.instances)) for page in found] == [(6, 2), (0, 2), (0, 2)]
    assert await meant(request, index) == uids([*FIRST, *SECOND])


async def test_what_is_planned_says_where_the_bytes_are(index):
    found = await plan(asked(QueryRetrieveLevel="IMAGE", SOPInstanceUID="1.2.1.1.2"), index)
    async for place in index.locate(InstanceScope(sop_uids=("1.2.1.1.2",))):
        expected = PlannedInstance(
            sop_class_uid=place.identity.sop_class_uid, sop_instance_uid="1.2.1.1.2",
            transfer_syntax_uid=place.transfer_syntax_uid, key=place.key, offset=place.offset, length=place.length,
            sha256=place.sha256, xxh3=place.xxh3,
        )  # fmt: skip
    assert found.instances == [expected]
    assert RetrievePlanReply.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("model", "keys", "tag"),
    [
        (STUDY_MOVE, {"StudyInstanceUID": "1.2.1"}, "(0008,0052)"),
        (STUDY_MOVE, {"QueryRetrieveLevel": "FRAME", "StudyInstanceUID": "1.2.1"}, "(0008,0052)"),
        (STUDY_MOVE, {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, "(0008,0052)"),
        (ONLY_MOVE, {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.2"}, "(0008,0052)"),
        (COMPOSITE_GET, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2"}, "(0008,0052)"),
        (PATIENT_GET, {"QueryRetrieveLevel": "PATIENT"}, "(0010,0020)"),
        (PATIENT_GET, {"QueryRetrieveLevel": "PATIENT", "PatientID": "P*"}, "(0010,0020)"),
        (PATIENT_GET, {"QueryRetrieveLevel": "PATIENT", "PatientID": ["P1", "P2"]}, "(0010,0020)"),
        (STUDY_MOVE, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}, "(0020,000D)"),
        (STUDY_MOVE, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.*"}, "(0020,000D)"),
        (STUDY_MOVE, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "one"}, "(0020,000D)"),
        (STUDY_MOVE, {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2.1"}, "(0020,000E)"),
        (STUDY_MOVE, {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "1.?"}, "(0008,0018)"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
async def test_an_identifier_that_says_nothing_is_refused_with_its_tag(model, keys, tag):
    outcome = await refused(asked(model, **keys), None)
    assert outcome.status == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    assert tag in outcome.comment[:64]


async def test_an_identifier_that_cannot_be_read_is_a_failure_to_process():
    request = asked(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2")
    torn = await refused(request.model_copy(update={"identifier": request.identifier[:-3]}), None)
    assert torn.status == Status.UNABLE_TO_PROCESS
    unknown = await refused(request.model_copy(update={"transfer_syntax_uid": "1.2.3"}), None)
    assert unknown.status == Status.UNABLE_TO_PROCESS
    find = await refused(request.model_copy(update={"sop_class_uid": f"{ROOT}.2.1"}), None)
    assert find.status == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS


async def test_a_cursor_that_nobody_gave_out_is_refused(tmp_path):
    index = SqlIndex(sqlite_url(tmp_path / "index.db"))
    request = asked(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2")
    found = await refused(request.model_copy(update={"cursor": "made up"}), index)
    await index.close()
    assert found.status == Status.UNABLE_TO_PROCESS


async def test_an_index_that_does_not_answer_is_no_plan():
    class Down:
        async def count(self, _: object) -> int:
            raise DatabaseUnavailable("down")

    found = await refused(asked(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2"), Down())
    assert (found.status, found.comment) == (Status.UNABLE_TO_CALCULATE_MATCHES, "down")
