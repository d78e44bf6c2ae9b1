"""Answers in the DICOM JSON Model: the tables of PS3.18 10.6.3.3, row by row, and what is asked for besides."""

import pytest

from osteon.dicom.attribute_names import UnknownAttribute, tag_of
from osteon.dicom.models import Level
from osteon_query.packs.sidecars import Sidecars
from osteon_query.search.results import build_results
from osteon_query.search.return_keys import ReturnKeys, default_return_keys
from support.query.scripted_index import CT, EXPLICIT, CountingObjects, ScriptedIndex, location, match, sidecar

HEADER = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3.4.5"]},
    "00080060": {"vr": "CS", "Value": ["CT"]},
    "00081090": {"vr": "LO", "Value": ["Scanner 1"]},
    "00101030": {"vr": "DS", "Value": [70.5]},
    "00180050": {"vr": "DS", "Value": [1.25]},
    "00091001": {"vr": "LO", "Value": ["private"]},
    "00400275": {
        "vr": "SQ",
        "Value": [{"00400007": {"vr": "LO", "Value": ["Step"]}, "00400009": {"vr": "SH", "Value": ["SPS1"]}}],
    },
    "7FE00010": {"vr": "OW", "BulkDataURI": "bulk/7FE00010"},
}


async def _answer(one, wanted, *, constants=None):
    objects = CountingObjects({location().key: sidecar([HEADER])})
    index = ScriptedIndex(locations=[location()])
    sidecars = Sidecars(objects, memory=1 << 20)
    (answer,) = await build_results([one], wanted, index=index, sidecars=sidecars, constants=constants)
    return answer, index, objects


@pytest.mark.parametrize(
    ("keyword", "element"),
    [
        ("StudyDate", {"vr": "DA", "Value": ["20240102"]}),
        ("StudyTime", {"vr": "TM", "Value": ["101500"]}),
        ("AccessionNumber", {"vr": "SH", "Value": ["A1"]}),
        ("InstanceAvailability", {"vr": "CS", "Value": ["ONLINE"]}),
        ("ModalitiesInStudy", {"vr": "CS", "Value": ["CT", "SR"]}),
        ("ReferringPhysicianName", {"vr": "PN"}),
        ("TimezoneOffsetFromUTC", {"vr": "SH", "Value": ["+0100"]}),
        ("PatientName", {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}),
        ("PatientID", {"vr": "LO", "Value": ["OSTEON-1"]}),
        ("PatientBirthDate", {"vr": "DA", "Value": ["19700203"]}),
        ("PatientSex", {"vr": "CS", "Value": ["F"]}),
        ("StudyInstanceUID", {"vr": "UI", "Value": ["1.2.3"]}),
        ("StudyID", {"vr": "SH", "Value": ["S1"]}),
        ("NumberOfStudyRelatedSeries", {"vr": "IS", "Value": [2]}),
        ("NumberOfStudyRelatedInstances", {"vr": "IS", "Value": [30]}),
        ("SpecificCharacterSet", {"vr": "CS", "Value": ["ISO_IR 192"]}),
    ],
)
async def test_a_study_has_every_attribute_of_table_10_6_3_3(keyword, element):
    one = match(Level.STUDY, study={"TimezoneOffsetFromUTC": "+0100"})
    answer, _, objects = await _answer(one, default_return_keys(Level.STUDY))
    assert answer[tag_of(keyword)] == element
    assert not objects.reads


@pytest.mark.parametrize(
    ("keyword", "element"),
    [
        ("Modality", {"vr": "CS", "Value": ["CT"]}),
        ("TimezoneOffsetFromUTC", {"vr": "SH", "Value": ["+0100"]}),
        ("SeriesDescription", {"vr": "LO", "Value": ["Axial"]}),
        ("SeriesInstanceUID", {"vr": "UI", "Value": ["1.2.3.4"]}),
        ("SeriesNumber", {"vr": "IS", "Value": [2]}),
        ("NumberOfSeriesRelatedInstances", {"vr": "IS", "Value": [20]}),
        ("PerformedProcedureStepStartDate", {"vr": "DA", "Value": ["20240103"]}),
        ("PerformedProcedureStepStartTime", {"vr": "TM", "Value": ["11"]}),
        (
            "RequestAttributesSequence",
            {
                "vr": "SQ",
                "Value": [{"00400009": {"vr": "SH", "Value": ["SPS1"]}, "00401001": {"vr": "SH", "Value": ["RP1"]}}],
            },
        ),
        ("StudyInstanceUID", {"vr": "UI", "Value": ["1.2.3"]}),
    ],
)
async def test_a_series_has_every_attribute_of_table_10_6_3_4(keyword, element):
    one = match(
        Level.SERIES,
        study={"TimezoneOffsetFromUTC": "+0100"},
        series={"PerformedProcedureStepStartDate": "20240103", "PerformedProcedureStepStartTime": "11"},
        requests=(("SPS1", "RP1"),),
    )
    answer, _, objects = await _answer(one, default_return_keys(Level.SERIES))
    assert answer[tag_of(keyword)] == element
    assert not objects.reads


@pytest.mark.parametrize(
    ("keyword", "element"),
    [
        ("SOPClassUID", {"vr": "UI", "Value": [CT]}),
        ("SOPInstanceUID", {"vr": "UI", "Value": ["1.2.3.4.5"]}),
        ("InstanceAvailability", {"vr": "CS", "Value": ["ONLINE"]}),
        ("TimezoneOffsetFromUTC", {"vr": "SH", "Value": ["+0100"]}),
        ("InstanceNumber", {"vr": "IS", "Value": [7]}),
        ("Rows", {"vr": "US", "Value": [512]}),
        ("Columns", {"vr": "US", "Value": [256]}),
        ("BitsAllocated", {"vr": "US", "Value": [16]}),
        ("NumberOfFrames", {"vr": "IS", "Value": [3]}),
        ("AvailableTransferSyntaxUID", {"vr": "UI", "Value": [EXPLICIT]}),
        ("StudyInstanceUID", {"vr": "UI", "Value": ["1.2.3"]}),
        ("SeriesInstanceUID", {"vr": "UI", "Value": ["1.2.3.4"]}),
    ],
)
async def test_an_instance_has_every_attribute_of_table_10_6_3_5(keyword, element):
    one = match(Level.IMAGE, study={"TimezoneOffsetFromUTC": "+0100"}, image={"NumberOfFrames": "3"})
    answer, _, objects = await _answer(one, default_return_keys(Level.IMAGE))
    assert answer[tag_of(keyword)] == element
    assert not objects.reads


async def test_a_conditional_attribute_without_a_value_is_left_out():
    answer, _, _ = await _answer(match(Level.IMAGE), default_return_keys(Level.IMAGE))
    assert tag_of("NumberOfFrames") not in answer
    assert tag_of("TimezoneOffsetFromUTC") not in answer


async def test_a_search_that_names_no_study_answers_with_the_attributes_of_the_levels_above():
    wanted = default_return_keys(Level.IMAGE, study_given=False, series_given=False)
    answer, _, _ = await _answer(match(Level.IMAGE), wanted)
    assert answer[tag_of("PatientName")]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert answer[tag_of("Modality")]["Value"] == ["CT"]
    answer, _, _ = await _answer(match(Level.IMAGE), default_return_keys(Level.IMAGE))
    assert tag_of("PatientName") not in answer
    assert tag_of("Modality") not in answer


async def test_a_patient_has_its_counts():
    answer, _, _ = await _answer(match(Level.PATIENT), default_return_keys(Level.PATIENT))
    counts = ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances")
    assert [answer[tag_of(keyword)]["Value"] for keyword in counts] == [[2], [3], [40]]


async def test_tags_ascend_and_are_in_upper_case():
    answer, _, _ = await _answer(match(Level.STUDY), default_return_keys(Level.STUDY))
    assert list(answer) == sorted(answer)
    assert "0020000D" in answer


async def test_a_name_has_its_groups():
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    answer, _, _ = await _answer(match(Level.STUDY, patient={"PatientName": name}), default_return_keys(Level.STUDY))
    assert answer[tag_of("PatientName")]["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]


async def test_several_values_are_several_and_an_empty_one_among_them_is_null():
    series = {"OperatorsName": "A^B\\\\C", "ImageOrientationPatient": "1\\0\\0\\0\\0.5\\0"}
    wanted = default_return_keys(Level.SERIES, include=["OperatorsName", "ImageOrientationPatient"])
    answer, _, _ = await _answer(match(Level.SERIES, series=series), wanted)
    assert answer[tag_of("OperatorsName")]["Value"] == [{"Alphabetic": "A^B"}, None, {"Alphabetic": "C"}]
    assert answer[tag_of("ImageOrientationPatient")]["Value"] == [1, 0, 0, 0, 0.5, 0]


async def test_what_is_no_number_is_shown_as_it_was_written():
    answer, _, _ = await _answer(match(Level.SERIES, series={"SeriesNumber": "1a"}), default_return_keys(Level.SERIES))
    assert answer[tag_of("SeriesNumber")] == {"vr": "IS", "Value": ["1a"]}


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES])
async def test_an_attribute_that_the_index_lacks_comes_from_a_representative_instance(level):
    answer, index, _ = await _answer(match(level), default_return_keys(level, include=["ManufacturerModelName"]))
    assert answer["00081090"] == {"vr": "LO", "Value": ["Scanner 1"]}
    assert index.asked == [(level, (level.lower(),))]


async def test_an_attribute_that_the_index_lacks_comes_from_the_instance_itself_at_image_level():
    wanted = default_return_keys(Level.IMAGE, include=["00180050", "00091001"])
    answer, index, _ = await _answer(match(Level.IMAGE), wanted)
    assert answer["00180050"]["Value"] == [1.25]
    assert answer["00091001"]["Value"] == ["private"]
    assert not index.asked


async def test_an_attribute_of_a_lower_level_is_not_taken_from_one_instance():
    answer, _, objects = await _answer(
        match(Level.STUDY), default_return_keys(Level.STUDY, include=["SeriesInstanceUID"])
    )
    assert "0020000E" not in answer
    assert not objects.reads


async def test_everything_at_image_level_is_the_whole_header_without_bulk_data():
    answer, _, _ = await _answer(match(Level.IMAGE), default_return_keys(Level.IMAGE, everything=True))
    assert set(HEADER) - set(answer) == {"7FE00010"}
    assert answer["00080005"]["Value"] == ["ISO_IR 192"]


async def test_everything_at_study_level_is_what_belongs_to_the_study():
    answer, _, _ = await _answer(match(Level.STUDY), default_return_keys(Level.STUDY, everything=True))
    assert answer[tag_of("PatientWeight")]["Value"] == [70.5]
    assert answer[tag_of("StudyDescription")]["Value"] == ["Head"]
    assert tag_of("SliceThickness") not in answer
    assert tag_of("Modality") not in answer


async def test_only_the_items_keys_that_are_wanted_come_back():
    wanted = ReturnKeys(required=frozenset({"00400275"}), items={"00400275": frozenset({"00400007", "00401001"})})
    answer, _, _ = await _answer(match(Level.SERIES), wanted)
    assert answer["00400275"]["Value"] == [{"00400007": {"vr": "LO", "Value": ["Step"]}, "00401001": {"vr": "SH"}}]


async def test_a_sequence_asked_for_by_name_comes_whole():
    answer, _, _ = await _answer(
        match(Level.SERIES), default_return_keys(Level.SERIES, include=["RequestAttributesSequence"])
    )
    assert answer["00400275"] == HEADER["00400275"]


async def test_a_resource_that_was_deleted_meanwhile_is_answered_from_what_was_found():
    index, sidecars = ScriptedIndex(), Sidecars(CountingObjects(), memory=1 << 20)
    wanted = default_return_keys(Level.STUDY, include=["ManufacturerModelName"])
    (answer,) = await build_results([match(Level.STUDY)], wanted, index=index, sidecars=sidecars)
    assert answer["0020000D"]["Value"] == ["1.2.3"]


async def test_constants_are_in_every_answer_and_win():
    url = {"00081190": {"vr": "UR", "Value": ["http://localhost/studies/1.2.3"]}}
    answer, _, objects = await _answer(
        match(Level.STUDY), default_return_keys(Level.STUDY, include=["RetrieveURL"]), constants=url
    )
    assert answer["00081190"] == url["00081190"]
    assert not objects.reads


def test_an_unknown_includefield_is_refused():
    with pytest.raises(UnknownAttribute):
        default_return_keys(Level.STUDY, include=["Nonsense"])
