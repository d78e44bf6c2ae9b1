"""The clients of the command line against a running archive."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import evt

from osteon.cli.scu import echo, find, get, move, send
from support.archive.running import RunningArchive, eventually
from support.cli.scu import ToolResult, pynetdicom, tool
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes

__all__ = ["tool"]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives")]
Tool = Callable[..., ToolResult]


def address(archive: RunningArchive) -> tuple[str, ...]:
    return f"127.0.0.1:{archive.dicom_port}", "-aec", archive.aet


def slices_and_a_jpeg(folder: Path, study: str) -> list[Path]:
    """Write 30 CT slices and a compressed image of a study."""
    folder.mkdir()
    jpeg = dcmread(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm"))
    jpeg.StudyInstanceUID, jpeg.PatientID, jpeg.SOPInstanceUID = study, "OSTEON-TEST", generate_uid()
    jpeg.file_meta.MediaStorageSOPInstanceUID = jpeg.SOPInstanceUID
    return [saved(each, folder) for each in (*(ct_slice(study=study, number=n) for n in range(30)), jpeg)]


def stored(tool: Tool, archive: RunningArchive, folder: Path) -> tuple[str, list[Path]]:
    """Send a study; return its UID and its files once all of them are found."""
    study = generate_uid()
    files = slices_and_a_jpeg(folder, study)
    sent = tool(send.main, *address(archive), folder, "-n", 3, "--json")
    assert (sent.code, json.loads(sent.out)["sent"]) == (0, len(files)), sent
    shown = ("-k", f"StudyInstanceUID={study}", "-k", "NumberOfStudyRelatedInstances", "--json")

    def all_of_it() -> bool:
        found = json.loads(tool(find.main, *address(archive), *shown).out)
        return [each["NumberOfStudyRelatedInstances"] for each in found] == [str(len(files))]

    assert eventually(all_of_it)
    return study, files


def test_a_study_is_sent_and_found(tool: Tool, archive: RunningArchive, tmp_path: Path) -> None:
    assert tool(echo.main, *address(archive)).code == 0
    study, files = stored(tool, archive, tmp_path / "in")
    found = tool(find.main, *address(archive), "-l", "image", "-k", f"StudyInstanceUID={study}", "--json")
    assert {each["SOPInstanceUID"] for each in json.loads(found.out)} == {path.stem for path in files}


def test_a_study_is_fetched_and_moved_as_it_was_sent(tool: Tool, archive: RunningArchive, tmp_path: Path) -> None:
    study, files = stored(tool, archive, tmp_path / "in")
    key = ("-k", f"StudyInstanceUID={study}")
    fetched = tool(get.main, *address(archive), *key, "-o", tmp_path / "out", "--json")
    assert (fetched.code, json.loads(fetched.out)["completed"]) == (0, len(files)), fetched
    by_name = {path.name: path for path in (tmp_path / "out").rglob("*.dcm")}
    assert len(by_name) == len(files)
    for path in files:
        assert dataset_bytes(by_name[path.name]) == dataset_bytes(path)

    received: list[str] = []

    def on_store(event: evt.Event) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        return 0

    with pynetdicom((evt.EVT_C_STORE, on_store)) as sink:
        host, port = sink.split(":")
        httpx.put(f"{archive.url}/modalities/tools-sink", json=["TOOLS_SINK", host, int(port)]).raise_for_status()
        moved = tool(move.main, *address(archive), *key, "--to", "TOOLS_SINK")
    assert (moved.code, f"{len(files)} moved" in moved.out) == (0, True), moved
    assert sorted(received) == sorted(path.stem for path in files)
