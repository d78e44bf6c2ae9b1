"""C-FIND in a real index: what keys mean to the search, the index understands the same way."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from osteon.contracts.find import FindPageRequest
from osteon.index.sql import SqlIndex
from osteon_query.packs.sidecars import Sidecars
from osteon_query.search.cfind import handle_find
from support.index.stored_packs import entry, pack, slices, sqlite_url
from support.query.scripted_index import CountingObjects

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SHELF = [
    pack(*slices(3, "P1", "1.2.1", "1.2.1.1", PatientName="Müller^Jörg", StudyDate="20240102", StudyTime="2330",
                 AccessionNumber="A1", SeriesNumber="2")),
    pack(*slices(2, "P1", "1.2.2", "1.2.2.1", PatientName="Müller^Jörg", StudyDate="20240103", StudyTime="0030",
                 TimezoneOffsetFromUTC="+0200")),
    pack(entry("P2", "1.2.3", "1.2.3.1", "1.2.3.1.1", PatientName="Doe^Jane", Modality="MR", StudyDate="20240201",
               StudyTime="1015", requests=(("SPS1", "RP1"), ("SPS2", "RP2")))),
]  # fmt: skip


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqlIndex]:
    found = SqlIndex(sqlite_url(tmp_path / "index.db"))
    await found.start()
    await found.upsert(SHELF)
    yield found
    await found.close()


async def find(index: SqlIndex, level: str, /, *, page: int = 100, root: int = 1, **asked) -> list[Dataset]:
    """Ask page by page, and return all answers."""
    keys = Dataset()
    keys.QueryRetrieveLevel = level
    negotiated = {name: asked.pop(name) for name in ("combined_datetime", "timezone", "fuzzy") if name in asked}
    for keyword, value in asked.items():
        setattr(keys, keyword, value)
    stream = DicomBytesIO()
    stream.is_implicit_VR = stream.is_little_endian = True
    write_dataset(stream, keys)
    asked_for = FindPageRequest(
        correlation_id="c", sop_class_uid=f"1.2.840.10008.5.1.4.1.2.{root}.1", transfer_syntax_uid="1.2.840.10008.1.2",
        identifier=stream.getvalue(), called_aet="OSTEON", **negotiated,
    )  # fmt: skip
    sidecars, answers = Sidecars(CountingObjects(), memory=1 << 20), []
    while True:
        answer = await handle_find(asked_for, index, sidecars, page=page)
        answers += [read_dataset(io.BytesIO(data), True, True) for data in answer.identifiers]
        if answer.cursor is None:
            return answers
        asked_for = asked_for.model_copy(update={"cursor": answer.cursor})


@pytest.mark.parametrize(
    ("keys", "studies"),
    [
        ({}, ["1.2.1", "1.2.2", "1.2.3"]),
        ({"PatientName": "muller^jorg"}, ["1.2.1", "1.2.2"]),
        ({"PatientName": "DOE*"}, ["1.2.3"]),
        ({"PatientName": "Jane", "fuzzy": True}, ["1.2.3"]),
        ({"PatientID": "p1"}, []),
        ({"AccessionNumber": '""'}, ["1.2.2", "1.2.3"]),
        ({"StudyDate": "20240103-"}, ["1.2.2", "1.2.3"]),
        ({"StudyTime": "10"}, ["1.2.3"]),
        ({"StudyInstanceUID": ["1.2.1", "1.2.3", "1.9"]}, ["1.2.1", "1.2.3"]),
        ({"ModalitiesInStudy": "M*"}, ["1.2.3"]),
        ({"NumberOfStudyRelatedInstances": "2"}, ["1.2.2"]),
        ({"StudyDate": "20240102-20240103", "StudyTime": "23-01", "combined_datetime": True}, ["1.2.1", "1.2.2"]),
        ({"StudyDate": "20240102-20240103", "StudyTime": "23-0010", "combined_datetime": True}, ["1.2.1"]),
        ({"StudyDate": "20240102", "TimezoneOffsetFromUTC": "+0000", "timezone": True,
          "StudyInstanceUID": "1.2.2"}, ["1.2.2"]),
    ],
)  # fmt: skip
async def test_studies_are_found(index, keys, studies):
    asked = {"StudyInstanceUID": "", **keys}
    assert [answer.StudyInstanceUID for answer in await find(index, "STUDY", **asked)] == studies


@pytest.mark.parametrize("page", [1, 2, 5, 100])
async def test_pages_of_any_size_give_all_matches_once(index, page):
    found = await find(index, "IMAGE", page=page, SOPInstanceUID="")
    assert len({answer.SOPInstanceUID for answer in found}) == len(found) == 6


async def test_every_level_has_its_own_answers(index):
    (patient,) = await find(index, "PATIENT", PatientID="P1", NumberOfPatientRelatedStudies="")
    assert patient.NumberOfPatientRelatedStudies == 2
    (series,) = await find(
        index, "SERIES", StudyInstanceUID="1.2.1", NumberOfSeriesRelatedInstances="", SeriesNumber=""
    )
    assert (series.NumberOfSeriesRelatedInstances, series.SeriesNumber) == (3, 2)
    (image,) = await find(index, "IMAGE", SOPInstanceUID="1.2.3.1.1", SOPClassUID="", PatientName="")
    assert image.PatientName == "Doe^Jane"


async def test_keys_in_a_sequence_find_the_series_and_its_matching_item(index):
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = "SPS2", ""
    (series,) = await find(index, "SERIES", SeriesInstanceUID="", RequestAttributesSequence=[item])
    assert series.SeriesInstanceUID == "1.2.3.1"
    assert [i.RequestedProcedureID for i in series.RequestAttributesSequence] == ["RP2"]


@pytest.mark.parametrize("patient", ["P1", "P4"])
async def test_a_study_of_two_patients_is_walked_through_from_either(index: SqlIndex, patient: str) -> None:
    of_second = {"PatientName": "Poe^Ed", "Modality": "CT"}
    await index.upsert([
        pack(entry("P4", "1.2.1", "1.2.1.1", "1.2.1.1.9", **of_second),
             entry("P4", "1.2.1", "1.2.1.4", "1.2.1.4.1", **of_second)),
    ])  # fmt: skip
    counts = {"NumberOfStudyRelatedInstances": None, "NumberOfStudyRelatedSeries": None}
    (study,) = [s for s in await find(index, "STUDY", PatientID=patient, StudyInstanceUID="", **counts)
                if s.StudyInstanceUID == "1.2.1"]  # fmt: skip
    assert (study.PatientID, study.NumberOfStudyRelatedInstances, study.NumberOfStudyRelatedSeries) == (patient, 5, 2)
    keys = {"PatientID": patient, "StudyInstanceUID": "1.2.1"}
    series = await find(index, "SERIES", SeriesInstanceUID="", NumberOfSeriesRelatedInstances=None, **keys)
    assert [(s.SeriesInstanceUID, s.NumberOfSeriesRelatedInstances) for s in series] == [("1.2.1.1", 4), ("1.2.1.4", 1)]
    images = await find(index, "IMAGE", SOPInstanceUID="", SeriesInstanceUID="1.2.1.1", **keys)
    assert len(images) == 4
    assert len(await find(index, "STUDY", root=2, StudyInstanceUID="1.2.1")) == 1
