"""What was acknowledged survives kill -9, and the index can be made again from the objects alone."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from support.archive.running import StandaloneProcess, eventually
from support.dicom.datasets import ct_slice, saved

pytestmark = pytest.mark.slow


def test_acknowledged_instances_survive_kill_9(tmp_path: Path) -> None:
    files = [saved(ct_slice(study="1.2.3", series=f"1.2.3.{n % 3}", number=n), tmp_path) for n in range(30)]
    process = StandaloneProcess(tmp_path / "data", OSTEON_PACK_SECONDS="30")
    archive = process.start()
    contexts = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    with archive.association(contexts) as association:
        assert [association.send_c_store(path).Status for path in files] == [0x0000] * 30
        process.stop(signal.SIGKILL)
        association.abort()
    archive = process.start()
    eventually(lambda: archive.get("/statistics").json()["CountInstances"] == 30)
    assert process.stop() == 0


def test_reindex_fills_an_empty_index_from_the_objects_alone(tmp_path: Path) -> None:
    files = [saved(ct_slice(number=n), tmp_path) for n in range(5)]
    data = tmp_path / "data"
    process = StandaloneProcess(data)
    archive = process.start()
    assert archive.send(files) == [0x0000] * 5
    eventually(lambda: archive.get("/statistics").json()["CountInstances"] == 5)
    before = sorted(archive.get("/studies").json())
    process.stop()
    for file in data.glob("index.sqlite*"):
        file.unlink()
    command = [sys.executable, "-m", "osteon.cli", "reindex", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "5 packs indexed" in done.stdout
    archive = process.start()
    assert sorted(archive.get("/studies").json()) == before
    process.stop()


def test_a_second_process_on_the_same_data_is_refused(tmp_path: Path) -> None:
    process = StandaloneProcess(tmp_path / "data")
    process.start()
    second = StandaloneProcess(tmp_path / "data")
    with pytest.raises(AssertionError, match="another Osteon works in"):
        second.start()
    process.stop()


def test_comparisons_that_wait_survive_kill_9_and_duplicates_are_counted_once(tmp_path: Path) -> None:
    first = [saved(ct_slice(study="1.2.4", series="1.2.4.1", number=n), tmp_path) for n in range(12)]
    again = [reencoded(path, tmp_path / f"again-{path.name}") for path in first]
    other = dcmread(first[0])
    other.PatientComments = "says something else"
    other.save_as(tmp_path / "other.dcm")
    process = StandaloneProcess(tmp_path / "data", OSTEON_PACK_SECONDS="30")
    archive = process.start()
    assert archive.send(first) == [0x0000] * len(first)
    eventually(lambda: archive.get("/statistics").json()["CountInstances"] == len(first))
    for files in ([*again, tmp_path / "other.dcm"], again):  # what waits, or is being compared, is interrupted twice
        assert archive.send(files) == [0x0000] * len(files)
        process.stop(signal.SIGKILL)
        archive = process.start()
    eventually(lambda: not list((tmp_path / "data" / "spool").rglob("*.tar")))
    eventually(lambda: len(archive.get("/conflicts").json()) == 1)
    (conflict,) = archive.get("/conflicts").json()
    differing = archive.get(f"/conflicts/{conflict['Id']}").json()["DifferentTags"]
    assert [each["Keyword"] for each in differing] == ["PatientComments"]
    statistics = archive.get("/statistics").json()
    assert (statistics["CountInstances"], statistics["CountSeries"], statistics["CountStudies"]) == (len(first), 1, 1)
    # Nothing but the first pack, and the one with the version that says something else, is left.
    eventually(lambda: len(list((tmp_path / "data" / "objects").rglob("*.tar"))) == 2)
    for path in first:
        uid = dcmread(path, stop_before_pixels=True).SOPInstanceUID
        (found,) = archive.get(f"/dicom-web/instances?SOPInstanceUID={uid}").json()
        assert found["00080018"]["Value"] == [uid]
    assert process.stop() == 0


def reencoded(path: Path, target: Path) -> Path:
    """Write the same instance in implicit VR."""
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(target, implicit_vr=True, little_endian=True, enforce_file_format=True)
    return target
