"""Values as they are stored and compared."""

# ruff: noqa: RUF001  (letters of many scripts are what is tested)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.index.fields import FIELDS, FieldKind, column_name
from osteon.index.ranges import _successor
from osteon.index.values import clean, date_bounds, date_key, number, text_key, time_bounds, time_key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("10", "100000.000000"), ("1015", "101500.000000"), ("101530", "101530.000000"),
        ("101530.5", "101530.500000"), ("101530.123456", "101530.123456"), ("10:15:30", "101530.000000"),
        ("10:15", "101500.000000"), (" 10 ", "100000.000000"), ("235960", "235960.000000"), ("", None), ("1", None),
        ("101", None), ("101530.1234567", None), ("noon", None), ("١٠", None),
    ],
)  # fmt: skip
def test_times_of_any_precision_have_one_form(text, key):
    assert time_key(text) == key


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("10", "105959.999999"), ("1015", "101559.999999"), ("101530", "101530.999999"),
        ("101530.5", "101530.599999"), ("101530.123456", "101530.123456"), ("235960", "235960.999999"),
    ],
)  # fmt: skip
def test_a_time_stands_for_all_moments_of_its_precision(text, last):
    assert time_bounds(text) == (time_key(text), last)


@given(st.times(), st.times())
def test_times_compare_as_their_keys_do(one, other):
    keys = [time_key(t.strftime("%H%M%S.%f")) for t in (one, other)]
    assert (keys[0] < keys[1]) == (one < other)


@pytest.mark.parametrize(
    ("text", "key"),
    [("19970424", "19970424"), ("1997.04.24", "19970424"), (" 19970424", "19970424"), ("199704", None), ("", None),
     ("24.04.1997", None), ("today", None)],
)  # fmt: skip
def test_dates_of_both_notations_have_one_form(text, key):
    assert date_key(text) == key


def test_a_month_or_year_of_a_query_stands_for_its_days():
    assert date_bounds("2026") == ("20260000", "20269999")
    assert date_bounds("202602") == ("20260200", "20260299")
    assert date_bounds("2026.02.03") == ("20260203", "20260203")
    assert date_bounds("x") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("007", 7), ("+7", 7), ("-7", -7), (" 7 ", 7), ("7.0", 7), ("7.", 7), ("7.5", None), ("", None),
     ("1e3", None), ("1_0", None), ("٣", None), ("9" * 25, None), ("nan", None), ("9223372036854775808", None)],
)  # fmt: skip
def test_integers_are_read_as_dicom_writes_them(text, value):
    assert number(text) == value


def test_clean_text_can_be_stored_anywhere():
    assert clean(" a\x00b ") == "ab"
    assert clean("\ud800x") == "?x"
    assert len(clean("x" * 100_000)) == 4096


def test_text_compares_without_case_but_with_accents():
    assert text_key("Straße ÄB") == "strasse äb"
    assert text_key("M\u00fcller") == text_key("Mu\u0308ller") != text_key("Muller")


@given(st.text(min_size=1), st.text())
def test_the_successor_of_a_beginning_is_behind_all_that_begin_so(beginning, rest):
    after = _successor(beginning)
    text = beginning + rest
    assert text >= beginning
    assert not after or (text < after and after.encode() > text.encode())


def test_columns_are_named_as_the_attributes():
    assert column_name("StudyInstanceUID") == "study_instance_uid"
    assert column_name("SOPInstanceUID") == "sop_instance_uid"
    assert column_name("IssuerOfPatientID") == "issuer_of_patient_id"
    assert column_name("TimezoneOffsetFromUTC") == "timezone_offset_from_utc"
    assert len({field.column for field in FIELDS.values()}) == len(FIELDS)


def test_numbers_that_do_not_fit_their_column_are_left_out():
    assert FIELDS["Rows"].store("65535") == {"rows": 65535}
    assert FIELDS["Rows"].store(str(2**31)) == {"rows": None}
    assert FIELDS["InstanceNumber"].store(str(2**31))["instance_number"] == 2**31


@pytest.mark.parametrize(
    ("text", "kept"),
    [("8", (8, None)), ("0008", (8, "0008")), ("", (None, "")), ("x", (None, "x")), (None, (None, None))],
)
def test_the_text_of_a_number_is_kept_where_the_number_does_not_show_it(text, kept):
    assert tuple(FIELDS["InstanceNumber"].store(text).values()) == kept


def test_an_empty_value_is_not_an_absent_one():
    assert FIELDS["PatientSex"].store("") == {"patient_sex": "", "patient_sex_key": None}
    assert set(FIELDS["PatientSex"].store(None).values()) == {None}


def test_every_kind_of_attribute_is_held_somewhere():
    assert {field.kind for field in FIELDS.values()} == set(FieldKind)
