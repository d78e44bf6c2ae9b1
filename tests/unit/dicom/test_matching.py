r"""Every row of PS3.4 C.2.2.2: key value → kind of matching."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.dicom.matching import MAX_VALUES, WILDCARD_VRS, BadValue, combine_datetimes, parse_key, parse_matching
from osteon.dicom.query import DateTimeRange, Empty, MatchingKey, OneOf, Range, Single, Wildcard
from osteon.errors import Invalid

A_KEYWORD = {
    "AE": "RetrieveAETitle", "AS": "PatientAge", "AT": "FrameIncrementPointer", "CS": "Modality",
    "DA": "StudyDate", "DS": "SliceThickness", "DT": "AcquisitionDateTime", "FD": "ReconstructionFieldOfView",
    "IS": "SeriesNumber", "LO": "PatientID", "LT": "PatientComments", "PN": "PatientName", "SH": "StudyID",
    "ST": "InstitutionAddress", "TM": "StudyTime", "UC": "LongCodeValue", "UI": "StudyInstanceUID",
    "UR": "RetrieveURL", "US": "Rows", "UT": "StrainAdditionalInformation",
}  # fmt: skip


@pytest.mark.parametrize(
    ("keyword", "text", "value"),
    [
        ("PatientID", "HN-1", "HN-1"),
        ("PatientID", " HN 1 ", "HN 1"),
        ("PatientName", "Doe^Jane", "Doe^Jane"),
        ("PatientName", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("Modality", "CT", "CT"),
        ("StudyDate", "20240229", "20240229"),
        ("StudyDate", "2024.02.29", "20240229"),
        ("StudyTime", "103015.123456", "103015.123456"),
        ("StudyInstanceUID", "1.2.840.1\0", "1.2.840.1"),
        ("SeriesNumber", "007 ", "7"),
        ("SeriesNumber", "-3", "-3"),
        ("SliceThickness", "2.50", "2.50"),
        ("PatientAge", "042Y", "042Y"),
        ("Rows", "512", "512"),
        ("FrameIncrementPointer", "00181063", "00181063"),
        ("InstitutionAddress", " One\\Two", " One\\Two"),
        ("AcquisitionDateTime", "20240229103015.123456", "20240229103015.123456"),
    ],
)
def test_single_value_matching_takes_the_value_without_padding_and_normalised(keyword, text, value):
    assert parse_matching(keyword, text) == Single(value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1.2.3\\1.2.4", ("1.2.3", "1.2.4")),
        ("1.2.3,1.2.4", ("1.2.3", "1.2.4")),
        ("1.2.3\\\\1.2.4\\1.2.3\0", ("1.2.3", "1.2.4")),
    ],
)
def test_list_of_uid_matching_takes_each_uid_once(text, values):
    assert parse_matching("StudyInstanceUID", text) == OneOf(values)


def test_a_list_that_repeats_one_uid_is_single_value_matching():
    assert parse_matching("StudyInstanceUID", "1.2\\1.2") == Single("1.2")


@pytest.mark.parametrize(
    ("keyword", "text", "values"),
    [
        ("Modality", "CT\\MR", ("CT", "MR")),
        ("PatientID", "A\\ B ", ("A", "B")),
        ("StudyDate", "20240101\\20240103", ("20240101", "20240103")),
        ("SeriesNumber", "1\\02", ("1", "2")),
    ],
)
def test_multiple_values_match_any_of_them(keyword, text, values):
    assert parse_matching(keyword, text) == OneOf(values)


@pytest.mark.parametrize("text", ["", " ", "*", "**", "*  ", "\0"])
@pytest.mark.parametrize("vr", sorted(A_KEYWORD))
def test_universal_matching_is_no_value_or_a_lone_asterisk_whatever_the_vr(vr, text):
    assert parse_matching(A_KEYWORD[vr], text) is None


def test_a_list_with_an_asterisk_in_it_is_universal():
    assert parse_matching("Modality", "CT\\*") is None


@pytest.mark.parametrize("text", ["-", " - "])
@pytest.mark.parametrize("vr", ["DA", "TM", "DT"])
def test_a_range_without_bounds_is_universal(vr, text):
    assert parse_matching(A_KEYWORD[vr], text) is None


@pytest.mark.parametrize("vr", sorted(WILDCARD_VRS))
@pytest.mark.parametrize("text", ["A*", "?B", "A**B?"])
def test_wild_cards_work_in_text_vrs(vr, text):
    assert parse_matching(A_KEYWORD[vr], text) == Wildcard(text.replace("**", "*"))


@pytest.mark.parametrize("vr", sorted(set(A_KEYWORD) - WILDCARD_VRS))
@pytest.mark.parametrize("text", ["1*", "?1"])
def test_wild_cards_are_refused_where_the_vr_allows_none(vr, text):
    with pytest.raises(BadValue, match=A_KEYWORD[vr]):
        parse_matching(A_KEYWORD[vr], text)


@pytest.mark.parametrize(
    ("keyword", "text", "low", "high"),
    [
        ("StudyDate", "20240101-20240131", "20240101", "20240131"),
        ("StudyDate", "20240101 - 20240131", "20240101", "20240131"),
        ("StudyDate", "20240101-", "20240101", None),
        ("StudyDate", "-20240131", None, "20240131"),
        ("StudyTime", "10", "100000.000000", "105959.999999"),
        ("StudyTime", "1030", "103000.000000", "103059.999999"),
        ("StudyTime", "10:30", "103000.000000", "103059.999999"),
        ("StudyTime", "103015", "103015.000000", "103015.999999"),
        ("StudyTime", "103015.5", "103015.500000", "103015.599999"),
        ("StudyTime", "08-1030", "080000.000000", "103059.999999"),
        ("StudyTime", "08-", "080000.000000", None),
        ("StudyTime", "-1030", None, "103059.999999"),
        ("AcquisitionDateTime", "2024", "20240101000000.000000", "20241231235959.999999"),
        ("AcquisitionDateTime", "202402", "20240201000000.000000", "20240229235959.999999"),
        ("AcquisitionDateTime", "20240229-", "20240229000000.000000", None),
        ("AcquisitionDateTime", "-2024022910", None, "20240229105959.999999"),
        ("AcquisitionDateTime", "2024022910-20240301", "20240229100000.000000", "20240301235959.999999"),
        ("AcquisitionDateTime", "2024022910-0500", "20240229150000.000000", "20240229155959.999999"),
        ("AcquisitionDateTime", "2024022910+0100-2024022912+0100", "20240229090000.000000", "20240229115959.999999"),
        ("AcquisitionDateTime", "2023-2024", "20230101000000.000000", "20241231235959.999999"),
    ],
)
def test_range_matching_gives_inclusive_bounds_of_full_precision(keyword, text, low, high):
    assert parse_matching(keyword, text) == Range(low, high)


def test_a_range_from_a_day_to_the_same_day_is_that_day():
    assert parse_matching("StudyDate", "20240101-20240101") == Single("20240101")


@pytest.mark.parametrize("vr", sorted(A_KEYWORD))
def test_two_quotation_marks_match_the_empty_value_in_every_vr(vr):
    assert parse_matching(A_KEYWORD[vr], '""') == Empty()


def test_a_key_in_a_sequence_is_matched_as_its_own_vr_asks():
    path = ("RequestAttributesSequence", "ScheduledProcedureStepID")
    assert parse_key(path, "SPS*") == Wildcard("SPS*")


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("StudyDate", "20240230"),
        ("StudyDate", "2024"),
        ("StudyDate", "yesterday"),
        ("StudyDate", "20240101-20240102-20240103"),
        ("StudyDate", "20240131-20240101"),
        ("StudyDate", "00000101"),
        ("StudyTime", "2400"),
        ("StudyTime", "1060"),
        ("StudyTime", "10301"),
        ("StudyTime", "103015.1234567"),
        ("AcquisitionDateTime", "202413"),
        ("AcquisitionDateTime", "now"),
        ("AcquisitionDateTime", "2024-2023"),
        ("StudyInstanceUID", "1.2.x"),
        ("StudyInstanceUID", "1." * 40),
        ("StudyInstanceUID", "1.2\\1.2.*"),
        ("SeriesNumber", "1-5"),
        ("SeriesNumber", "one"),
        ("SeriesNumber", "٣"),
        ("SliceThickness", "1e"),
        ("PatientAge", "42"),
        ("Rows", "5.5"),
        ("Modality", "CT\\M*"),
        ("StudyTime", "10\\11"),
        ("PatientID", "a\0b"),
        ("RequestAttributesSequence", "x"),
        ("PixelData", "x"),
        ("PatientID", "x" * 70_000),
        ("StudyInstanceUID", "\\".join(f"1.{n}" for n in range(MAX_VALUES + 1))),
    ],
)
def test_an_invalid_value_raises_an_error_that_names_the_attribute_and_its_tag(keyword, text):
    with pytest.raises(BadValue, match=rf"{keyword} \([0-9A-F]{{4}},[0-9A-F]{{4}}\)"):
        parse_matching(keyword, text)


def test_an_error_in_a_sequence_names_the_whole_path():
    with pytest.raises(BadValue, match=r"RequestAttributesSequence \(0040,0275\)\.RequestedProcedureID \(0040,1001\)"):
        parse_key(("RequestAttributesSequence", "RequestedProcedureID"), "a\0b")


def test_an_attribute_that_the_dictionary_lacks_is_matched_by_the_vr_it_was_sent_with():
    assert parse_matching("00091001", "AB*", vr="LO") == Wildcard("AB*")
    with pytest.raises(BadValue, match=r"\(0009,1001\)"):
        parse_matching("00091001", "AB*")


def _keys(date, time, *more):
    made = [("StudyDate", date), ("StudyTime", time), *more]
    return [MatchingKey((k,), m) for k, text in made if (m := parse_matching(k, text)) is not None]


@pytest.mark.parametrize(
    ("date", "time", "low", "high"),
    [
        ("20240105-20240107", "1000-1800", "20240105100000.000000", "20240107180059.999999"),
        ("20240105", "1000-1800", "20240105100000.000000", "20240105180059.999999"),
        ("20240105-20240107", "10-", "20240105100000.000000", "20240107235959.999999"),
        ("20240105-20240107", "-18", "20240105000000.000000", "20240107185959.999999"),
        ("20240105-", "10-18", "20240105100000.000000", None),
        ("-20240107", "10-18", None, "20240107185959.999999"),
        ("20240105-20240106", "22-06", "20240105220000.000000", "20240106065959.999999"),
        ("20240105", "103015.000001", "20240105103015.000001", "20240105103015.000001"),
    ],
)
def test_combined_matching_makes_one_range_of_moments_from_a_date_and_its_time(date, time, low, high):
    made = _keys(date, time)
    assert combine_datetimes(made) == (DateTimeRange("StudyDate", "StudyTime", low, high),)


def test_combined_matching_leaves_other_keys_and_lone_dates_as_they_are():
    other = MatchingKey(("SeriesDate",), Single("20240101"))
    patient = MatchingKey(("PatientID",), Single("1"))
    assert combine_datetimes([other, patient]) == (other, patient)


def test_combined_matching_leaves_an_empty_value_key_alone():
    made = [MatchingKey(("StudyDate",), Empty()), MatchingKey(("StudyTime",), Single("100000.000000"))]
    assert combine_datetimes(made) == tuple(made)


def test_a_combined_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(BadValue, match="StudyDate"):
        combine_datetimes(_keys("20240105", "22-06"))


def test_a_range_of_times_across_midnight_is_refused_without_combined_matching():
    with pytest.raises(BadValue, match="StudyTime"):
        combine_datetimes(_keys("20240105-20240106", "22-06"), negotiated=False)


def test_without_negotiation_a_date_and_its_time_are_matched_each_for_itself():
    made = _keys("20240105-20240107", "1000-1800")
    assert combine_datetimes(made, negotiated=False) == tuple(made)


@given(vr=st.sampled_from(sorted(A_KEYWORD)), text=st.text(max_size=80))
def test_any_text_is_either_understood_or_refused_as_invalid(vr, text):
    with contextlib.suppress(Invalid):
        parse_matching(A_KEYWORD[vr], text)


@given(
    vr=st.sampled_from(["DA", "TM", "DT", "UI", "IS", "DS"]),
    text=st.text(alphabet='0123456789.-+*?\\:" \0', max_size=40),
)
def test_any_row_of_digits_and_signs_is_either_understood_or_refused_as_invalid(vr, text):
    try:
        matching = parse_matching(A_KEYWORD[vr], text)
    except Invalid:
        return
    if vr != "TM" and isinstance(matching, Range) and matching.low and matching.high:
        assert matching.low <= matching.high
