"""De-identification: the table of PS3.15, planted values that must survive nowhere, options, consistency."""

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from osteon.dicom.errors import BadDataSet
from osteon.dicom.models import Level
from osteon.modification.confidentiality_profile import CODES, ProfileOption, attribute_actions, profile_table
from osteon.modification.deidentification import Deidentifier
from osteon.modification.errors import BadModification, ModificationNotSupported
from osteon.modification.modified_file import write_modified_file
from osteon.modification.request import Modification, deidentification_of
from support.dicom.datasets import ct_slice
from support.dicom.documents import document, report
from support.dicom.real_files import BUNDLED, storable
from support.packs.sealed_packs import part10

SYNTAXES = ("1.2.840.10008.1.2", ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def anonymized(
    source: Dataset | bytes, folder: Path, *, key: str = "key", level: Level = Level.STUDY, **body: Any
) -> tuple[Dataset, bytes, dict[str, str]]:
    path, target = folder / "source.dcm", folder / "target.dcm"
    path.write_bytes(source if isinstance(source, bytes) else part10(source))
    target.unlink(missing_ok=True)
    modification = Modification.from_orthanc(body, level, job=False, deidentification=deidentification_of(body))
    change = Deidentifier(modification, key)
    write_modified_file(path, 0, path.stat().st_size, change, target)
    return dcmread(target), target.read_bytes(), change.report


def planted(syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """Return an instance in which SECRET or a number with 733173 is wherever the table has an attribute."""
    dataset = ct_slice(
        PatientID="ID-7331733", PatientName="SECRET^Person", AccessionNumber="A7331733", StudyDate="19580304"
    )
    nested = Dataset()
    for where in (dataset, nested):
        for tag in [int(tag, 16) for tag in profile_table() if "x" not in tag and tag >= "00080020"]:
            if not keyword_for_tag(tag) or tag in (0x00100020, 0xFFFAFFFA, 0xFFFCFFFC, 0x04000100):
                continue
            value: Any = {
                "DA": "19580304", "DT": "19580304101112", "TM": "101112.733173", "AS": "073Y", "DS": "7331733",
                "IS": "7331733", "UI": f"1.2.3.7331733.{tag}", "PN": "SECRET^Person", "OB": b"SECRET", "UN": b"SECRET",
                "US": 7331, "OW": b"SECRET", "FD": 7331.0, "FL": 7331.0, "UL": 7331, "SL": 7331, "SS": 7331,
                "AT": 0x73317331,
            }.get(dictionary_VR(tag)[:2], "SECRET7331733")  # fmt: skip
            if dictionary_VR(tag) == "SQ":
                item = Dataset()
                item.PatientName, item.TextValue, item.UID = "SECRET^Nested", "SECRET", "1.2.3.7331733"
                item.PersonName, item.ReferencedSOPClassUID = "SECRET^Nested", "1.2.840.10008.5.1.4.1.1.2"
                value = [item]
            with config.disable_value_validation():
                where.add_new(tag, dictionary_VR(tag)[:2], value)
    dataset.RequestAttributesSequence = [nested]
    dataset.ReferencedSeriesSequence = [nested]
    dataset.PatientID = "ID-7331733"
    block = dataset.private_block(0x0011, "ACME SECRET", create=True)
    block.add_new(1, "LO", "SECRET")
    dataset.add_new(0x60003000, "OW", b"SECRET")
    dataset.add_new(0x50003000, "OW", b"SECRET")
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.SourceApplicationEntityTitle = "SECRET"
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES[:3])
def test_planted_values_survive_nowhere(tmp_path: Path, syntax: str) -> None:
    source = planted(syntax)
    assert part10(source).count(b"SECRET") > 400
    made, content, done = anonymized(source, tmp_path)
    for value in (b"SECRET", b"733173", b"19580304", b"ACME"):
        assert value not in content, content[max(0, content.index(value) - 40) :][:80]
    assert made.PatientIdentityRemoved == "YES"
    assert [code.CodeValue for code in made.DeidentificationMethodCodeSequence] == ["113100"]
    assert made.LongitudinalTemporalInformationModified == "REMOVED"
    assert not any("SECRET" in name or "733173" in name or "SECRET" in verb for name, verb in done.items())
    assert done["PatientName"] == "replaced"
    assert done["AccessionNumber"] == "emptied"
    assert made.PixelData == source.PixelData


def test_the_table_is_that_of_the_standard() -> None:
    table = profile_table()
    assert len(table) == 655
    assert {row["basic"] for row in table.values()} == {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}
    spots = {"00100010": "Z", "00100020": "Z/D", "00080018": "U", "00081140": "X/Z/U*", "0040A730": "D",
             "00080080": "X/Z/D", "00420011": "D", "50xxxxxx": "X", "60xx3000": "X", "00880200": "X"}  # fmt: skip
    assert {tag: table[tag]["basic"] for tag in spots} == spots
    dated = {tag for tag in table if table[tag]["full_dates"]}
    assert dated == {tag for tag in table if table[tag]["modified_dates"]}
    assert {dictionary_VR(int(tag, 16)) for tag in dated if keyword_for_tag(tag)} == {"DA", "DT", "TM", "SH", "OB"}
    assert {"00100030", "00100032"}.isdisjoint(dated)
    assert {code.column for code in CODES.values()} - {""} == set(next(iter(table.values()))) - {"tag", "basic"}
    assert len(attribute_actions([])) == len(table)


def test_uids_are_new_and_refer_to_each_other_across_levels_jobs_and_instances(tmp_path: Path) -> None:
    first, second = ct_slice(PatientID="P"), ct_slice(PatientID="P")
    second.ReferencedImageSequence = [Dataset()]
    second.ReferencedImageSequence[0].ReferencedSOPInstanceUID = first.SOPInstanceUID
    second.ReferencedImageSequence[0].ReferencedSOPClassUID = first.SOPClassUID
    second.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"
    one, two = anonymized(first, tmp_path)[0], anonymized(second, tmp_path)[0]
    assert two.ReferencedImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID != first.SOPInstanceUID
    assert two.ReferencedImageSequence[0].ReferencedSOPClassUID == first.SOPClassUID == one.SOPClassUID
    assert two.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert (one.PatientID, one.PatientName) == (two.PatientID, two.PatientName)
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    other = anonymized(first, tmp_path, key="another")[0]
    assert (other.PatientID != one.PatientID, other.StudyInstanceUID != one.StudyInstanceUID) == (True, True)


def test_dates_stay_or_move_together_as_the_options_say(tmp_path: Path) -> None:
    source = ct_slice(PatientID="P", StudyDate="20200110", AcquisitionDateTime="20200112101112.5", StudyTime="101112")
    kept = anonymized(source, tmp_path, Options=["RetainFullDates"])[0]
    assert (kept.StudyDate, kept.LongitudinalTemporalInformationModified) == ("20200110", "UNMODIFIED")
    moved = anonymized(source, tmp_path, Options=["RetainModifiedDates"])[0]
    assert moved.StudyDate < "20200110"
    assert moved.StudyTime == "101112"
    assert int(moved.AcquisitionDateTime[:8]) - int(moved.StudyDate) in (2, 2 + 69, 2 + 70, 2 + 71, 2 + 72, 2 + 8870)
    assert moved.AcquisitionDateTime.endswith("101112.5")
    assert moved.LongitudinalTemporalInformationModified == "MODIFIED"
    assert moved.PatientBirthDate != source.get("PatientBirthDate", "x")


def test_descriptors_are_kept_without_what_identifies(tmp_path: Path) -> None:
    source = ct_slice(
        PatientName="Muster^Ann", PatientID="4711", InstitutionName="Clinic East", ReferringPhysicianName="Kern^Olaf",
        StudyDescription="CT Abdomen of MUSTER, see 03.04.1958 Dr. Kern", SeriesDescription="arterial 123456",
    )  # fmt: skip
    made, _, done = anonymized(source, tmp_path, Options=["CleanDescriptors"])
    assert (made.StudyDescription, made.SeriesDescription) == ("CT Abdomen of , see Dr.", "arterial")
    assert done["StudyDescription"] == "cleaned"
    assert [code.CodeValue for code in made.DeidentificationMethodCodeSequence] == ["113100", "113105"]
    assert "StudyDescription" not in anonymized(source, tmp_path)[0]


@pytest.mark.parametrize(
    ("option", "keyword", "value"),
    [
        ("RetainDeviceIdentity", "DeviceSerialNumber", "S-1"),
        ("RetainInstitutionIdentity", "InstitutionName", "Clinic East"),
        ("RetainPatientCharacteristics", "PatientAge", "044Y"),
        ("RetainUIDs", "StudyInstanceUID", "1.2.3"),
    ],
)
def test_options_retain_what_they_name(tmp_path: Path, option: str, keyword: str, value: str) -> None:
    source = ct_slice(**{keyword: value})
    assert anonymized(source, tmp_path, Options=[option])[0][keyword].value == value
    assert anonymized(source, tmp_path)[0].get(keyword) != value


def test_private_attributes_stay_by_creator(tmp_path: Path) -> None:
    source = ct_slice()
    source.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "safe")
    source.private_block(0x0011, "OTHER", create=True).add_new(1, "LO", "not")
    body = {"Options": ["RetainSafePrivate"], "SafePrivateCreators": ["ACME"]}
    made, content, _ = anonymized(source, tmp_path, **body)
    assert made.private_block(0x0011, "ACME")[1].value == "safe"
    assert b"OTHER" not in content
    assert b"OTHER" in anonymized(source, tmp_path, KeepPrivateTags=True)[1]


def test_given_values_and_kept_paths_go_before_the_profile(tmp_path: Path) -> None:
    source = ct_slice(StudyDescription="kept", PatientWeight="70", AccessionNumber="A1")
    source.RequestAttributesSequence = [Dataset()]
    source.RequestAttributesSequence[0].RequestedProcedureID = "R1"
    keep = ["StudyDescription", "RequestAttributesSequence[*].RequestedProcedureID"]
    body = {"Replace": {"PatientID": "STUDY-7", "PatientName": "Subject^7"}, "Remove": ["PatientWeight"], "Keep": keep}
    made, _, done = anonymized(source, tmp_path, **body, Force=True)
    assert (made.PatientID, made.PatientName, made.StudyDescription) == ("STUDY-7", "Subject^7", "kept")
    assert "PatientWeight" not in made
    assert done["StudyDescription"] == "kept"


def test_reports_and_documents_lose_their_content_or_their_names(tmp_path: Path) -> None:
    made = anonymized(report("Report on SECRET"), tmp_path)[0]
    assert [item.TextValue for item in made.ContentSequence] == ["ANONYMIZED"]
    made, content, _ = anonymized(document(b"%PDF SECRET" * 9_000), tmp_path)
    assert (made.EncapsulatedDocument, b"SECRET" in content) == (b"\0\0", False)


def test_burned_in_text_is_flagged_or_refused(tmp_path: Path) -> None:
    source = ct_slice(BurnedInAnnotation="YES")
    assert anonymized(source, tmp_path)[2]["BurnedInAnnotation"].startswith("YES: pixel data is as it was")
    with pytest.raises(BadModification, match="BurnedInAnnotation is YES"):
        anonymized(source, tmp_path, BurnedInAnnotation="refuse")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"Options": ["CleanPixelData"]}, ModificationNotSupported), ({"Options": ["RetainAll"]}, BadModification),
        ({"SafePrivateCreators": ["X"]}, BadModification), ({"BurnedInAnnotation": "x"}, BadModification),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(body: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        deidentification_of(body)


def test_a_job_cannot_retain_uids() -> None:
    how = deidentification_of({"Options": [ProfileOption.RETAIN_UIDS]})
    with pytest.raises(ModificationNotSupported, match="RetainUIDs"):
        Modification.from_orthanc({}, Level.STUDY, job=True, deidentification=how)


def test_every_real_file_is_anonymized_and_keeps_its_pixels(tmp_path: Path) -> None:
    looked_at, damaged = 0, []
    for path in storable(BUNDLED):
        source = dcmread(path)
        name, uid = str(source.get("PatientName") or ""), str(source.SOPInstanceUID)
        try:
            made, content, _ = anonymized(path.read_bytes(), tmp_path, Options=["CleanDescriptors"])
        except BadDataSet:
            damaged.append(path.name)
            continue
        assert made.SOPInstanceUID != uid
        assert len(name) < 4 or "nonym" in name or name.encode() not in content
        assert made.get("PixelData") == source.get("PixelData")
        looked_at += 1
    assert looked_at > 100
    assert len(damaged) <= 3, damaged
