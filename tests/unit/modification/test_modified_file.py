"""`osteon.modification`: what a changed file has, with pydicom as the reader of what is written."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from osteon.dicom.errors import BadDataSet
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.models import Level
from osteon.dicom.part10 import file_sha256, read_part10
from osteon.modification.apply import ModificationApplier
from osteon.modification.modified_file import ModifiedFile, write_modified_file
from osteon.modification.request import Modification
from osteon.modification.uids import UidMapping
from support.dicom.datasets import ct_slice
from support.dicom.real_files import BUNDLED, storable
from support.packs.sealed_packs import part10

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def instance(syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> Dataset:
    made = ct_slice(**attributes)
    made.ReferencedImageSequence = [item(ReferencedSOPInstanceUID="1.2"), item(ReferencedSOPInstanceUID="1.3")]
    made.RequestAttributesSequence = [item(RequestedProcedureID="x", StudyInstanceUID=made.StudyInstanceUID)]
    block = made.private_block(0x0011, "ACME", create=True)
    block.add_new(1, "LO", "private")
    block.add_new(2, "OB", bytes(100_000))
    block = made.private_block(0x7FE1, "ACME TAIL", create=True)
    block.add_new(1, "OB", b"behind pixels!")
    made.file_meta.TransferSyntaxUID = syntax
    return made


def modified(
    source: Dataset | bytes,
    folder: Path,
    *,
    level: Level = Level.STUDY,
    job: bool = True,
    key: str = "job",
    **body: Any,
) -> tuple[Dataset, ModifiedFile]:
    path = folder / "source.dcm"
    whole = source if isinstance(source, bytes) else part10(source)
    (folder / "whole.dcm").write_bytes(whole)
    path.write_bytes(b"before" + whole)
    target = folder / "target.dcm"
    target.unlink(missing_ok=True)
    change = ModificationApplier(Modification.from_orthanc(body, level, job=True), UidMapping(key))
    made = write_modified_file(path, 6, path.stat().st_size - 6, change, target)
    content = target.read_bytes()
    assert (file_sha256(read_part10(content)), len(content)) == (made.sha256, made.size)
    return dcmread(target), made


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_only_what_is_named_and_the_uids_change(tmp_path: Path, syntax: str) -> None:
    source = instance(syntax)
    made, file = modified(source, tmp_path, Replace={"StudyDescription": "new", "PatientWeight": "70.5"},
                          Remove=["AccessionNumber"])  # fmt: skip
    assert made.file_meta.TransferSyntaxUID == syntax
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID == file.identity.sop_uid
    assert (made.StudyDescription, made.PatientWeight) == ("new", 70.5)
    changed = {"StudyDescription", "PatientWeight", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID",
               "SOPInstanceUID"}  # fmt: skip
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert made[keyword].value.startswith("2.25.")
        assert made[keyword].value != source[keyword].value
    assert "AccessionNumber" not in made
    for element in dcmread(tmp_path / "whole.dcm"):
        if element.keyword not in changed:
            assert made[element.tag] == element
    assert {e.tag for e in made} - {e.tag for e in source} == {made["PatientWeight"].tag}


def test_untouched_elements_are_copied_byte_for_byte(tmp_path: Path) -> None:
    source = part10(instance())
    odd = source.replace(b"DA\x08\x0020240102", b"DA\x08\x00 2024 01")  # what pydicom would not write
    assert odd != source
    modified(odd, tmp_path, Replace={"StudyDescription": "new"})
    content = (tmp_path / "target.dcm").read_bytes()
    assert b"DA\x08\x00 2024 01" in content
    assert content[-5000:] == odd[-5000:]


def test_a_level_says_which_uids_are_new(tmp_path: Path) -> None:
    source = instance()
    uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    new = {}
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        made, _ = modified(source, tmp_path, level=level)
        new[level] = [keyword for keyword in uids if made[keyword].value != source[keyword].value]
    assert new == {Level.STUDY: list(uids), Level.SERIES: list(uids[1:]), Level.IMAGE: list(uids[2:])}
    made, _ = modified(source, tmp_path, Keep=["StudyInstanceUID"], Replace={"SeriesInstanceUID": "1.2.3"}, Force=True)
    assert (made.StudyInstanceUID, made.SeriesInstanceUID) == (source.StudyInstanceUID, "1.2.3")


def test_the_same_job_makes_the_same_file_again_and_another_one_does_not(tmp_path: Path) -> None:
    source = instance()
    _, one = modified(source, tmp_path, Replace={"StudyDescription": "new"})
    _, again = modified(source, tmp_path, Replace={"StudyDescription": "new"})
    _, other = modified(source, tmp_path, key="other", Replace={"StudyDescription": "new"})
    assert one == again
    assert one.identity.sop_uid != other.identity.sop_uid
    _, sibling = modified(instance(study=str(source.StudyInstanceUID)), tmp_path)
    assert sibling.identity.study_uid == one.identity.study_uid


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_items_of_sequences_are_reached_by_number_or_all(tmp_path: Path, syntax: str) -> None:
    source = instance(syntax)
    made, _ = modified(source, tmp_path, Replace={"ReferencedImageSequence[*].ReferencedSOPInstanceUID": "9.9"},
                       Remove=["RequestAttributesSequence[0].RequestedProcedureID"])  # fmt: skip
    assert [each.ReferencedSOPInstanceUID for each in made.ReferencedImageSequence] == ["9.9", "9.9"]
    assert [each.keyword for each in made.RequestAttributesSequence[0]] == ["StudyInstanceUID"]
    absent = ("ReferencedImageSequence[7]", "ReferencedStudySequence[*]")
    paths = [f"{each}.ReferencedSOPInstanceUID" for each in ("ReferencedImageSequence[1]", *absent)]
    made, _ = modified(source, tmp_path, Replace=dict.fromkeys(paths, "9.9"))
    assert [each.ReferencedSOPInstanceUID for each in made.ReferencedImageSequence] == ["1.2", "9.9"]
    assert "ReferencedStudySequence" not in made
    made, _ = modified(source, tmp_path, Replace={"OtherPatientIDsSequence": [{"PatientID": "a"}, {"0010,0020": "b"}]})
    assert [each.PatientID for each in made.OtherPatientIDsSequence] == ["a", "b"]


def test_private_elements_go_but_for_those_kept(tmp_path: Path) -> None:
    source = instance()
    source.RequestAttributesSequence[0].private_block(0x0013, "ACME", create=True).add_new(1, "LO", "nested")
    made, _ = modified(source, tmp_path, RemovePrivateTags=True)
    assert not [e.tag for e in made if e.tag.is_private]
    assert [e.keyword for e in made.RequestAttributesSequence[0]] == ["StudyInstanceUID", "RequestedProcedureID"]
    assert b"nested" not in (tmp_path / "target.dcm").read_bytes()
    made, _ = modified(source, tmp_path, RemovePrivateTags=True, Keep=["0011,1001"])
    assert [str(e.value) for e in made if e.tag.is_private] == ["ACME", "private"]


def test_a_private_attribute_gets_its_creator(tmp_path: Path) -> None:
    made, _ = modified(ct_slice(), tmp_path, Replace={"0019,1001": "text"}, PrivateCreator="NEW ONE")
    assert (made[0x00190010].value, bytes(made[0x00191001].value)) == ("NEW ONE", b"text")
    made, _ = modified(instance(), tmp_path, Replace={"0011,1001": "text"})
    assert made[0x00111001].value == "text"


def test_text_that_the_character_set_lacks_makes_all_of_it_utf_8(tmp_path: Path) -> None:
    source = instance(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Ute")
    made, _ = modified(source, tmp_path, Replace={"StudyDescription": "Größe"})
    assert (made.SpecificCharacterSet, made.StudyDescription) == ("ISO_IR 100", "Größe")
    made, _ = modified(source, tmp_path, Replace={"StudyDescription": "頭部"})
    assert (made.SpecificCharacterSet, made.StudyDescription) == ("ISO_IR 192", "頭部")
    assert made.PatientName == "Müller^Ute"


def test_binary_values_come_as_data_uris(tmp_path: Path) -> None:
    uri = "data:application/octet-stream;base64,AQID"
    made, _ = modified(instance(), tmp_path, Replace={"EncapsulatedDocument": uri})
    assert made.EncapsulatedDocument == b"\1\2\3\0"


def test_compressed_and_cut_off_pixel_data_are_copied(tmp_path: Path) -> None:
    source = instance(JPEG2000Lossless)
    source.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(1000)])
    source["PixelData"].is_undefined_length = True
    source["PixelData"].VR = "OB"
    made, _ = modified(source, tmp_path, Replace={"StudyDescription": "new"})
    assert made.PixelData == source.PixelData
    assert made[0x7FE11001].value == b"behind pixels!"
    whole = part10(ct_slice())
    modified(whole[:-1000], tmp_path, Replace={"StudyDescription": "new"})
    assert (tmp_path / "target.dcm").read_bytes()[-5000:] == whole[-6000:-1000]


def test_a_large_instance_is_never_in_memory(tmp_path: Path) -> None:
    source = instance()
    source.PixelData = bytes(96 << 20)
    source.private_block(0x0011, "ACME").add_new(3, "OW", bytes(32 << 20))
    path = tmp_path / "source.dcm"
    path.write_bytes(part10(source))
    del source
    change = ModificationApplier(Modification(level=Level.STUDY, replace={"StudyID": "2"}), UidMapping("job"))
    tracemalloc.start()
    try:
        write_modified_file(path, 0, path.stat().st_size, change, tmp_path / "target.dcm")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    made = dcmread(tmp_path / "target.dcm")
    assert (len(made.PixelData), len(made[0x00111003].value)) == (96 << 20, 32 << 20)


WHOLE = [path for path in storable(BUNDLED) if "truncated" not in path.name]


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_real_files_say_the_same_but_for_what_is_named(tmp_path: Path, path: Path) -> None:
    modified(path.read_bytes(), tmp_path, Replace={"StudyDescription": "new"})
    before, after = (header_of(each) for each in (path, tmp_path / "target.dcm"))
    named = {"00081030", "0020000D", "0020000E", "00080018"}
    same = {tag for tag in before.keys() | after.keys() if not tag.endswith("0000")} - named
    assert {tag: after.get(tag) for tag in same} == {tag: before.get(tag) for tag in same}


def header_of(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    meta = read_part10(content)
    read = HeaderReader().read(memoryview(content)[meta.data_set_offset :], meta.transfer_syntax_uid)
    return dict(json.loads(read.json))


@pytest.mark.parametrize("depth", [50, 3000])
def test_a_tower_of_sequences_is_refused_or_changed_and_ends_no_process(tmp_path: Path, depth: int) -> None:
    head = b"\x08\x00\x10\x11SQ\0\0"
    tower = b""
    for _ in range(depth):
        inner = b"\xfe\xff\x00\xe0" + len(tower).to_bytes(4, "little") + tower
        tower = head + len(inner).to_bytes(4, "little") + inner
    source = part10(ct_slice(ReferencedStudySequence=[])).replace(head + bytes(4), tower)
    modified(source, tmp_path, Replace={"StudyID": "2"})
    assert tower in (tmp_path / "target.dcm").read_bytes()
    if depth < 100:
        modified(source, tmp_path, RemovePrivateTags=True)
    else:
        with pytest.raises(BadDataSet):
            modified(source, tmp_path, RemovePrivateTags=True)


def test_a_value_that_cannot_be_read_is_an_error_of_the_instance(tmp_path: Path) -> None:
    source = part10(instance())
    with pytest.raises(BadDataSet):
        modified(source[:600], tmp_path, Replace={"StudyID": "2"})
    source = source.replace(b"\x08\x00\x40\x11SQ", b"\x08\x00\x40\x11AT")
    with pytest.raises(BadDataSet):
        modified(source, tmp_path, Replace={"ReferencedImageSequence[*].ReferencedSOPInstanceUID": "2"})
