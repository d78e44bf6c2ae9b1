"""C-FIND: identifiers in, encoded answers and statuses out."""

import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from osteon.archive.errors import BadCursor
from osteon.archive.resources import MatchPage
from osteon.contracts.find import FindPageReply, FindPageRequest
from osteon.dicom.identifier import BadMatchingKey, TooManyKeys
from osteon.dicom.models import Level
from osteon.dicom.query import DateTimeRange, Empty, MatchingKey, OneOf, Range, Single, Wildcard
from osteon.dimse.failure_status import FIND_STATUSES
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.errors import DatabaseUnavailable, Invalid, OsteonError
from osteon.objects.port import ObjectsUnavailable
from osteon_query.packs.sidecars import Sidecars
from osteon_query.search.cfind import handle_find, parse_identifier
from osteon_query.search.conditions import SearchLimits
from support.query.scripted_index import CountingObjects, ScriptedIndex, location, match, sidecar

# pydicom warns when a test writes a key that its VR forbids.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY = (f"1.2.840.10008.5.1.4.1.2.{n}.1" for n in (1, 2, 3))
IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)


def _encode(keys: dict | Dataset, syntax: str = IMPLICIT) -> bytes:
    dataset = keys
    if isinstance(keys, dict):
        dataset = Dataset()
        for keyword, value in keys.items():
            setattr(dataset, keyword, value)
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = syntax == IMPLICIT, syntax != BIG
    write_dataset(stream, dataset)
    data = stream.getvalue()
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
    return data


def _read(data: bytes, syntax: str = IMPLICIT) -> Dataset:
    if syntax == DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data)
    dataset = read_dataset(io.BytesIO(data), syntax == IMPLICIT, syntax != BIG)
    dataset.decode()
    return dataset


def request(keys: dict | Dataset | bytes, model: str = STUDY_ROOT, syntax: str = IMPLICIT, **more) -> FindPageRequest:
    data = keys if isinstance(keys, bytes) else _encode(keys, syntax)
    return FindPageRequest(
        correlation_id="c",
        sop_class_uid=model,
        transfer_syntax_uid=syntax,
        identifier=data,
        called_aet="OSTEON",
        **more,
    )


async def answered(
    asked: FindPageRequest, index: ScriptedIndex, sidecars: Sidecars, *, page: int
) -> FindPageReply | Outcome:
    """Return a page, or the status and comment that the requester gets instead."""
    try:
        return await handle_find(asked, index, sidecars, page=page)
    except OsteonError as error:
        return FIND_STATUSES.outcome(error)


def status_of(page: FindPageReply | Outcome) -> int:
    return page.status if isinstance(page, Outcome) else Status.SUCCESS


async def find(asked: FindPageRequest, *matches, header: dict | None = None, cursor: str | None = None):
    index = ScriptedIndex([MatchPage(matches, cursor)], [location()])
    objects = CountingObjects({location().key: sidecar([header or {}])})
    page = await answered(asked, index, Sidecars(objects, memory=1 << 20), page=50)
    return page, index


def study(**keys) -> dict:
    return {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", **keys}


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
async def test_a_match_is_answered_in_the_transfer_syntax_of_the_context(syntax):
    asked = study(PatientName="DOE*", PatientID="", NumberOfStudyRelatedInstances="", ModalitiesInStudy="")
    page, index = await find(request(asked, syntax=syntax), match(Level.STUDY))
    answer = _read(page.identifiers[0], syntax)
    assert answer.QueryRetrieveLevel == "STUDY"
    assert answer.RetrieveAETitle == "OSTEON"
    assert (answer.StudyInstanceUID, answer.PatientName, answer.PatientID) == ("1.2.3", "Doe^Jane", "OSTEON-1")
    assert answer.NumberOfStudyRelatedInstances == 30
    assert list(answer.ModalitiesInStudy) == ["CT", "SR"]
    assert (status_of(page), page.keys_ignored, page.cursor) == (0, False, None)
    assert index.searches[0].conditions == (MatchingKey(("PatientName",), Wildcard("DOE*")),)


async def test_a_page_survives_its_way_over_the_bus():
    page, _ = await find(request(study()), match(Level.STUDY))
    assert FindPageReply.model_validate_json(page.model_dump_json()) == page


async def test_the_next_page_is_asked_for_with_the_cursor_of_the_last():
    page, index = await find(request(study(), cursor="here"), match(Level.STUDY), cursor="there")
    assert (index.searches[0].cursor, page.cursor, index.searches[0].limit) == ("here", "there", 50)


@pytest.mark.parametrize(
    ("model", "levels"),
    [
        (PATIENT_ROOT, {"PATIENT", "STUDY", "SERIES", "IMAGE"}),
        (STUDY_ROOT, {"STUDY", "SERIES", "IMAGE"}),
        (PATIENT_STUDY_ONLY, {"PATIENT", "STUDY"}),
    ],
)
@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE", "", "GALAXY", None])
async def test_a_level_is_searched_only_in_a_model_that_has_it(model, levels, level):
    keys = {} if level is None else {"QueryRetrieveLevel": level}
    page, index = await find(request(keys, model))
    if level in levels:
        assert (status_of(page), index.searches[0].level) == (Status.SUCCESS, level)
    else:
        assert status_of(page) == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
        assert "(0008,0052)" in page.comment
        assert not index.searches


async def test_a_sop_class_that_is_no_find_model_is_refused():
    page, _ = await find(request(study(), model="1.2.840.10008.1.1"))
    assert status_of(page) == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS


@pytest.mark.parametrize(
    ("keys", "conditions"),
    [
        ({"StudyInstanceUID": ["1.2", "1.3"]}, [MatchingKey(("StudyInstanceUID",), OneOf(("1.2", "1.3")))]),
        ({"StudyInstanceUID": "*"}, []),
        ({"StudyDate": "20240101-"}, [MatchingKey(("StudyDate",), Range("20240101", None))]),
        ({"AccessionNumber": '""'}, [MatchingKey(("AccessionNumber",), Empty())]),
        ({"ModalitiesInStudy": ["CT", "MR"]}, [MatchingKey(("ModalitiesInStudy",), OneOf(("CT", "MR")))]),
        ({"NumberOfStudyRelatedSeries": "3"}, [MatchingKey(("NumberOfStudyRelatedSeries",), Single("3"))]),
        ({"RetrieveURL": "", "SpecificCharacterSet": "ISO_IR 100", "TimezoneOffsetFromUTC": "+0100"}, []),
    ],
)
def test_keys_become_conditions(keys, conditions):
    query = parse_identifier(request(study(**keys)))
    assert list(query.conditions) == conditions
    assert query.all_supported


def test_keys_of_the_levels_above_may_be_given_or_not_at_every_level():
    query = parse_identifier(request({"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "1.2", "PatientID": "P*"}))
    assert set(query.conditions) == {
        MatchingKey(("SOPInstanceUID",), Single("1.2")),
        MatchingKey(("PatientID",), Wildcard("P*")),
    }


def _request_sequence(*items: dict) -> Sequence:
    made = []
    for keys in items:
        item = Dataset()
        for keyword, value in keys.items():
            setattr(item, keyword, value)
        made.append(item)
    return Sequence(made)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_the_keys_in_a_sequences_item_become_conditions(syntax):
    item = {"ScheduledProcedureStepID": "SPS*", "RequestedProcedureID": ""}
    keys = {"QueryRetrieveLevel": "SERIES", "RequestAttributesSequence": _request_sequence(item)}
    query = parse_identifier(request(keys, syntax=syntax))
    assert query.conditions == (
        MatchingKey(("RequestAttributesSequence", "ScheduledProcedureStepID"), Wildcard("SPS*")),
    )
    assert query.return_keys.items == {"00400275": {"00400009", "00401001"}}
    assert query.all_supported


async def test_a_sequences_keys_that_the_index_holds_are_answered_from_it():
    item = {"ScheduledProcedureStepID": "", "RequestedProcedureID": ""}
    keys = {"QueryRetrieveLevel": "SERIES", "RequestAttributesSequence": _request_sequence(item)}
    page, index = await find(request(keys), match(Level.SERIES, requests=(("SPS1", "RP1"), ("SPS2", ""))))
    items = _read(page.identifiers[0]).RequestAttributesSequence
    assert [(i.ScheduledProcedureStepID, i.RequestedProcedureID) for i in items] == [("SPS1", "RP1"), ("SPS2", "")]
    assert not index.asked


async def test_only_the_items_that_match_come_back():
    keys = {
        "QueryRetrieveLevel": "SERIES",
        "RequestAttributesSequence": _request_sequence(
            {"ScheduledProcedureStepID": "SPS2", "RequestedProcedureID": ""}
        ),
    }
    page, _ = await find(request(keys), match(Level.SERIES, requests=(("SPS1", "RP1"), ("SPS2", "RP2"))))
    items = _read(page.identifiers[0]).RequestAttributesSequence
    assert [(i.ScheduledProcedureStepID, i.RequestedProcedureID) for i in items] == [("SPS2", "RP2")]


async def test_an_empty_sequence_asks_for_all_of_it():
    keys = {"QueryRetrieveLevel": "SERIES", "RequestAttributesSequence": _request_sequence()}
    header = {"00400275": {"vr": "SQ", "Value": [{"00400007": {"vr": "LO", "Value": ["Step"]}}]}}
    page, _ = await find(request(keys), match(Level.SERIES), header=header)
    assert _read(page.identifiers[0]).RequestAttributesSequence[0].ScheduledProcedureStepDescription == "Step"


async def test_two_items_in_a_key_sequence_are_refused():
    keys = {"QueryRetrieveLevel": "SERIES", "RequestAttributesSequence": _request_sequence({}, {})}
    page, _ = await find(request(keys))
    assert status_of(page) == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    assert "(0040,0275)" in page.comment


@pytest.mark.parametrize(
    "keys",
    [
        {"BodyPartThickness": "5"},
        {"SeriesInstanceUID": ""},
        {"Modality": "CT"},
        {"RetrieveAETitle": "OTHER"},
        {"ProcedureCodeSequence": _request_sequence({"CodeValue": "X"})},
    ],
)
async def test_a_key_that_is_not_matched_makes_the_pending_status_0xff01(keys):
    page, index = await find(request(study(**keys)), match(Level.STUDY))
    assert (status_of(page), page.keys_ignored) == (Status.SUCCESS, True)
    assert not index.searches[0].conditions
    assert set(keys) <= set(_read(page.identifiers[0]).dir())


async def test_every_key_comes_back_with_zero_length_when_there_is_no_value():
    asked = study(ReferringPhysicianName="", PatientWeight=None, SeriesDescription="", ProcedureCodeSequence=[])
    page, _ = await find(request(asked), match(Level.STUDY))
    answer = _read(page.identifiers[0])
    for keyword in ("ReferringPhysicianName", "PatientWeight", "SeriesDescription", "ProcedureCodeSequence"):
        assert answer[keyword].is_empty, keyword


async def test_a_key_that_the_index_lacks_is_answered_from_the_sidecar():
    header = {"00101030": {"vr": "DS", "Value": [70.5]}}
    page, _ = await find(request(study(PatientWeight=None)), match(Level.STUDY), header=header)
    assert _read(page.identifiers[0]).PatientWeight == 70.5


async def test_numbers_are_answered_as_they_are_in_the_file_and_nothing_of_its_meta_information():
    header = {
        "00101030": {"vr": "DS", "Value": [70.5], "Text": "70.500"},
        "00020010": {"vr": "UI", "Value": [EXPLICIT]},
    }
    asked = b"\x02\x00\x10\x00\x00\x00\x00\x00" + _encode(study(PatientWeight=None))
    page, _ = await find(request(asked), match(Level.STUDY), header=header)
    assert b"70.500" in page.identifiers[0]
    assert all(element.tag.group > 2 for element in _read(page.identifiers[0]))


def _flat(count: int) -> bytes:
    return b"".join(struct.pack("<HHI", 0x0009, number, 0) for number in range(0x1000, 0x1000 + count))


def _nested(count: int) -> bytes:
    inner = _flat(count)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    return struct.pack("<HHI", 0x0040, 0x0275, len(item)) + item


LEVEL = struct.pack("<HHI", 0x0008, 0x0052, 6) + b"STUDY "


@pytest.mark.parametrize("keys", [_flat(20_000), _nested(20_000), _nested(999), _flat(1000)])
async def test_more_keys_than_are_allowed_are_refused_and_the_setting_is_named(keys):
    page, index = await find(request(LEVEL + keys), match(Level.STUDY))
    assert page.status == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    assert page.comment == "more than 1000 keys (OSTEON_QUERY_MAX_KEYS)"
    assert index.searches == []


@pytest.mark.parametrize("keys", [_flat(999), _nested(998)])
async def test_as_many_keys_as_are_allowed_are_answered_in_small_pages(keys):
    page, index = await find(request(LEVEL + keys), match(Level.STUDY), cursor="more")
    assert page.cursor == "more"
    assert len(_read(page.identifiers[0])) >= 3
    assert index.searches[0].limit == 20, "20,000 elements at a time"


def test_more_keys_with_values_or_more_values_than_are_allowed_are_refused():
    limits = SearchLimits(matching_keys=2, values=3)
    asked = study(PatientID="1", PatientName="A*", PatientSex="", AccessionNumber="*")
    assert len(parse_identifier(request(asked), limits).conditions) == 2
    with pytest.raises(TooManyKeys, match="more than 2 keys with values"):
        parse_identifier(request({**asked, "StudyID": "1"}), limits)
    with pytest.raises(Invalid, match="4 values are given, at most 3 can"):
        parse_identifier(request({**study(), "StudyInstanceUID": ["1.1", "1.2", "1.3", "1.4"]}), limits)


async def test_group_lengths_are_no_keys():
    data = b"\x08\x00\x00\x00\x04\x00\x00\x00\x10\x00\x00\x00" + _encode({"QueryRetrieveLevel": "STUDY"})
    page, _ = await find(request(data), match(Level.STUDY))
    assert [f"{tag:08X}" for tag in sorted(element.tag for element in _read(page.identifiers[0]))] == [
        "00080052",
        "00080054",
    ]


@pytest.mark.parametrize(
    ("keys", "tag"),
    [
        ({"StudyDate": "20241301"}, "(0008,0020)"),
        ({"StudyTime": "noon"}, "(0008,0030)"),
        ({"StudyInstanceUID": "1.2.*"}, "(0020,000D)"),
        ({"StudyTime": "22-06", "StudyDate": "20240101"}, "(0008,0030)"),
    ],
)
async def test_a_bad_value_is_refused_with_its_tag(keys, tag):
    page, index = await find(request(study(**keys)))
    assert status_of(page) == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    assert tag in page.comment
    assert len(page.comment) <= 64
    assert not index.searches


def test_a_key_with_the_wrong_vr_is_refused_with_its_tag():
    data = b"\x08\x00\x20\x00SQ\0\0\0\0\0\0" + _encode({"QueryRetrieveLevel": "STUDY"}, EXPLICIT)
    with pytest.raises(BadMatchingKey, match=r"\(0008,0020\)"):
        parse_identifier(request(data, syntax=EXPLICIT))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
@pytest.mark.parametrize("garbage", [b"\x01", b"garbage " * 9, b"\xff" * 40, b"\x08\x00\x05\x00\xff\xff\xff\x7f"])
async def test_bytes_that_are_no_data_set_are_answered_with_a_failure(syntax, garbage):
    page, _ = await find(request(garbage, syntax=syntax))
    assert status_of(page) == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS or status_of(page) >> 12 == 0xC
    assert page.comment


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
async def test_an_identifier_that_is_cut_off_is_refused_wherever_it_was_cut(syntax):
    data = _encode(study(PatientName="Doe*"), syntax)
    for length in range(1, len(data)):
        page, _ = await find(request(data[:length], syntax=syntax), match(Level.STUDY))
        # A cut between two elements leaves a whole data set.
        assert status_of(page) != Status.SUCCESS or set(_read(page.identifiers[0], syntax).dir()) < {
            "QueryRetrieveLevel",
            "RetrieveAETitle",
            "PatientName",
            "StudyInstanceUID",
        }


async def test_an_identifier_that_inflates_without_end_is_refused():
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = b"".join([deflater.compress(bytes(1 << 20)) for _ in range(64)]) + deflater.flush()
    page, _ = await find(request(bomb, syntax=DEFLATED))
    assert status_of(page) == Status.UNABLE_TO_PROCESS
    assert "longer than" in page.comment


async def test_sequences_nested_without_end_are_refused():
    level = b"\x40\x00\x75\x02\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    ends = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    torn, _ = await find(request(level * 20_000))
    closed, _ = await find(request(level * 20_000 + ends * 20_000))
    assert status_of(torn) == Status.UNABLE_TO_PROCESS
    assert "deeper" in closed.comment


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), syntax=st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED, "1.2.3"]))
async def test_no_bytes_raise_anything(data, syntax):
    page, _ = await find(request(data, syntax=syntax))
    assert isinstance(page, FindPageReply | Outcome)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DatabaseUnavailable("the database is away"), Status.OUT_OF_RESOURCES),
        (BadCursor("'x' is not a cursor"), Status.UNABLE_TO_PROCESS),
    ],
)
async def test_what_fails_in_the_index_becomes_a_status_with_a_comment(error, status):
    index = ScriptedIndex(error=error)
    page = await answered(request(study()), index, Sidecars(CountingObjects(), memory=1 << 20), page=50)
    assert (status_of(page), page.comment) == (status, str(error))


async def test_an_object_store_that_is_away_is_out_of_resources():
    index = ScriptedIndex([MatchPage([match(Level.STUDY)])], [location()])
    objects = CountingObjects(error=ObjectsUnavailable("S3 is away"))
    page = await answered(request(study(PatientWeight=None)), index, Sidecars(objects, memory=1 << 20), page=50)
    assert status_of(page) == Status.OUT_OF_RESOURCES


async def test_a_broken_sidecar_costs_its_attributes_and_not_the_match():
    index = ScriptedIndex([MatchPage([match(Level.STUDY)])], [location()])
    for objects in (CountingObjects(), CountingObjects({location().key: b"garbage"})):
        index.searches.clear()
        page = await answered(request(study(PatientWeight=None)), index, Sidecars(objects, memory=1 << 20), page=50)
        assert status_of(page) == Status.SUCCESS
        assert _read(page.identifiers[0])["PatientWeight"].is_empty


@pytest.mark.parametrize(
    ("asked", "name", "answered"),
    [
        ("ISO_IR 100", "Buc^Jérôme", "ISO_IR 100"),
        ("ISO_IR 100", "Wałęsa^Lech", "ISO_IR 192"),
        ("ISO_IR 192", "Wałęsa^Lech", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        ("GB18030", "Wang^XiaoDong=王^小东", "GB18030"),
        ("ISO_IR 100", "Doe^Jane", None),
        (None, "Buc^Jérôme", "ISO_IR 192"),
        ("KLINGON", "Buc^Jérôme", "ISO_IR 192"),
    ],
)
async def test_the_answer_is_in_the_character_set_of_the_request_when_that_can_say_it(asked, name, answered):
    keys = study(PatientName="", **({"SpecificCharacterSet": asked} if asked else {}))
    data = _encode(keys) if asked != "KLINGON" else _klingon()
    page, _ = await find(request(data), match(Level.STUDY, patient={"PatientName": name}))
    answer = _read(page.identifiers[0])
    assert str(answer.PatientName) == name
    written = answer.get("SpecificCharacterSet")
    assert (written if isinstance(written, str | None) else list(written)) == answered


def _klingon() -> bytes:
    return b"\x08\x00\x05\x00\x08\x00\x00\x00KLINGON " + _encode(study(PatientName=""))


@pytest.mark.parametrize(
    ("charset", "raw", "name"),
    [
        (b"ISO_IR 100", "J\xe9r\xf4me*".encode("latin-1"), "Jérôme*"),
        (b"ISO_IR 192", "山田*".encode(), "山田*"),
        (b"ISO 2022 IR 6\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B*", "山田*"),
        (b"", "Jérôme*".encode(), "Jérôme*"),
        (b"", "Jérôme*".encode("latin-1"), "Jérôme*"),
    ],
)
def test_a_key_is_read_in_the_character_set_of_the_request(charset, raw, name):
    def element(tag: bytes, value: bytes) -> bytes:
        value += b" " * (len(value) % 2)
        return tag + len(value).to_bytes(4, "little") + value

    data = (element(b"\x08\x00\x05\x00", charset) if charset else b"") + element(b"\x08\x00\x52\x00", b"STUDY")
    query = parse_identifier(request(data + element(b"\x10\x00\x10\x00", raw)))
    assert query.conditions == (MatchingKey(("PatientName",), Wildcard(name)),)


def test_a_date_and_its_time_are_combined_only_when_that_was_negotiated():
    keys = study(StudyDate="20240101-20240102", StudyTime="22-06")
    query = parse_identifier(request(keys, combined_datetime=True))
    assert query.conditions == (
        DateTimeRange("StudyDate", "StudyTime", "20240101220000.000000", "20240102065959.999999"),
    )


@pytest.mark.parametrize("fuzzy", [True, False])
async def test_names_are_matched_fuzzily_when_that_was_negotiated(fuzzy):
    _, index = await find(request(study(PatientName="Meier"), fuzzy=fuzzy))
    assert index.searches[0].fuzzy is fuzzy


def _at(day: str, hour: str, zone: str):
    return match(Level.STUDY, study={"StudyDate": day, "StudyTime": hour, "TimezoneOffsetFromUTC": zone})


@pytest.mark.parametrize(
    ("keys", "stored", "found"),
    [
        ({"StudyDate": "20240102"}, ("20240103", "0030", "+0200"), True),
        ({"StudyDate": "20240102"}, ("20240102", "0030", "+0200"), False),
        ({"StudyDate": "20240102-"}, ("20240101", "2330", "-0100"), True),
        ({"StudyDate": ["20240102", "20240105"]}, ("20240103", "0030", "+0200"), True),
        ({"StudyDate": "20240102", "StudyTime": "22-"}, ("20240103", "0030", "+0200"), True),
        ({"StudyDate": "20240102", "StudyTime": "23-"}, ("20240103", "0030", "+0200"), False),
        ({"StudyDate": "20240102"}, ("20240102", "", "+0200"), True),
        ({"StudyDate": "20240102"}, ("garbage", "", "+0200"), False),
    ],
)
async def test_dates_are_matched_in_the_requesters_zone_when_that_was_negotiated(keys, stored, found):
    asked = request(study(TimezoneOffsetFromUTC="+0000", **keys), timezone=True)
    page, index = await find(asked, _at(*stored))
    assert len(page.identifiers) == found
    for condition in index.searches[0].conditions:
        assert condition.path == ("StudyDate",)
        assert condition.matching.low < "20240101"


async def test_combined_moments_are_matched_in_the_requesters_zone():
    keys = study(TimezoneOffsetFromUTC="-0500", StudyDate="20240102", StudyTime="20-21")
    asked = request(keys, timezone=True, combined_datetime=True)
    for stored, found in ((("20240103", "0230", "+0100"), 1), (("20240102", "2030", "+0100"), 0)):
        page, index = await find(asked, _at(*stored))
        assert len(page.identifiers) == found
        assert index.searches[0].conditions == (MatchingKey(("StudyDate",), Range("20231231", "20240104")),)


async def test_without_negotiation_the_requesters_zone_changes_nothing():
    page, index = await find(request(study(TimezoneOffsetFromUTC="+0000", StudyDate="20240102")), match(Level.STUDY))
    assert index.searches[0].conditions == (MatchingKey(("StudyDate",), Single("20240102")),)
    assert len(page.identifiers) == 1


async def test_the_zone_of_a_study_is_told_when_that_was_negotiated():
    page, _ = await find(request(study(), timezone=True), _at("20240102", "10", "+0200"))
    assert _read(page.identifiers[0]).TimezoneOffsetFromUTC == "+0200"


async def test_a_level_in_lower_case_is_understood():
    page, _ = await find(request({"QueryRetrieveLevel": "study"}), match(Level.STUDY))
    assert status_of(page) == Status.SUCCESS
