"""What was acknowledged survives kill -9, and the index can be made again from the objects alone."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
