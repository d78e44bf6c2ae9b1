"""Files that `osteon send` finds."""

import errno
import os
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from osteon.cli.scu.files import DicomFile, UnusableFile, find_files, measure, read_file
from osteon.errors import Invalid
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import BUNDLED, dataset_bytes, storable
from support.dimse.raw_peer import CT, EXPLICIT, IMPLICIT


def rest(found: DicomFile) -> bytes:
    return found.path.read_bytes()[found.offset :]


def test_a_file_is_read_with_and_without_what_stands_before_its_data_set(tmp_path: Path) -> None:
    dataset = ct_slice()
    whole = saved(dataset, tmp_path).read_bytes()
    data_set = dataset_bytes(whole)
    for name, content in (("whole", whole), ("no preamble", whole[132:]), ("bare", data_set)):
        path = tmp_path / name
        path.write_bytes(content)
        found = read_file(path)
        assert (found.sop_class, found.sop_instance, found.syntax) == (CT, dataset.SOPInstanceUID, EXPLICIT), name
        assert rest(found) == data_set, name


def test_a_bare_data_set_in_implicit_vr_is_recognized(tmp_path: Path) -> None:
    dataset = ct_slice()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    path = tmp_path / "bare"
    path.write_bytes(dataset_bytes(saved(dataset, tmp_path)))
    assert (read_file(path).syntax, read_file(path).sop_instance) == (IMPLICIT, dataset.SOPInstanceUID)


def test_a_bare_data_set_in_big_endian_is_recognized_and_one_with_compressed_pixels_is_refused(tmp_path: Path) -> None:
    dataset = ct_slice(PixelData=bytes(8192))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    path = tmp_path / "bare"
    path.write_bytes(dataset_bytes(saved(dataset, tmp_path)))
    assert (read_file(path).syntax, read_file(path).sop_instance) == (ExplicitVRBigEndian, dataset.SOPInstanceUID)
    path.write_bytes(dataset_bytes(BUNDLED / "693_J2KI.dcm"))
    with pytest.raises(Invalid, match="transfer syntax is unknown"):
        read_file(path)


def test_the_identity_is_that_of_the_data_set_where_the_meta_information_is_of_another(tmp_path: Path) -> None:
    dataset = ct_slice()
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    path = tmp_path / "other"
    dataset.save_as(path)
    assert read_file(path).sop_instance == dataset.SOPInstanceUID


def test_what_comes_late_in_a_long_header_is_found(tmp_path: Path) -> None:
    path = saved(ct_slice(ImageComments="x"), tmp_path)
    dataset = dcmread(path)
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = bytes(60_000)
    dataset.save_as(path)
    assert read_file(path).sop_instance == dataset.SOPInstanceUID


def test_real_files_are_found_as_pydicom_reads_them() -> None:
    for path in storable(BUNDLED):
        dataset = dcmread(path, stop_before_pixels=True)
        if dataset.file_meta.get("MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10":
            continue
        found = read_file(path)
        assert found.sop_class == dataset.SOPClassUID, path
        assert found.sop_instance == dataset.SOPInstanceUID, path
        assert found.syntax == dataset.file_meta.TransferSyntaxUID, path


def test_in_folders_other_files_are_left_out_but_one_that_is_named_is_a_failure(tmp_path: Path) -> None:
    text = tmp_path / "a" / "b" / "text.txt"
    text.parent.mkdir(parents=True)
    text.write_text("no DICOM at all")
    (tmp_path / "a" / "empty").touch()
    saved(ct_slice(), tmp_path / "a")
    (tmp_path / "a" / "b" / "loop").symlink_to(tmp_path / "a")
    found = list(find_files([tmp_path / "a", text, tmp_path / "absent"]))
    assert [type(each).__name__ for each in found].count("DicomFile") == 1
    unusable = [(each.path.name, each.failed) for each in found if isinstance(each, UnusableFile)]
    assert sorted(unusable) == [
        ("absent", True),
        ("empty", False),
        ("text.txt", False),
        ("text.txt", True),
    ]
    assert measure([tmp_path / "a"])[0] >= 3


def test_a_folder_behind_a_link_is_looked_through_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    saved(ct_slice(), tmp_path / "b")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "loop").symlink_to(tmp_path / "a")
    assert [type(each).__name__ for each in find_files([tmp_path / "a"])] == ["DicomFile"]


def test_a_dicomdir_is_no_instance() -> None:
    (found,) = find_files([BUNDLED / "dicomdirtests" / "DICOMDIR"])
    assert isinstance(found, UnusableFile)
    assert "DICOMDIR" in found.reason


def test_a_folder_that_cannot_be_looked_into_is_a_failure_and_the_others_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        saved(ct_slice(), tmp_path / name)
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("/a"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    found, unusable = find_files([tmp_path])
    assert isinstance(found, DicomFile)
    assert unusable == UnusableFile(tmp_path / "a", "Permission denied", failed=True)
