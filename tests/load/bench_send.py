"""`osteon send` beside DCMTK's storescu: both send the same number of 0.5 MB slices to an archive that keeps them.

Run `python tests/load/bench_send.py [instances]`. The time of storescu is that of its process; of `osteon send` also.
"""

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))
from support.archive.running import RunningArchive, StandaloneProcess, eventually


def study(folder: Path, count: int) -> Path:
    """Write a new study of CT slices of 512 by 512 times 16 bits."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.Rows = dataset.Columns = 512
    dataset.PixelData = bytes(512 * 512 * 2)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    folder.mkdir()
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(folder / f"{number:05}.dcm")
    return folder


def indexed(archive: RunningArchive, count: int) -> bool:
    """Whether so many instances are in the index."""
    return bool(archive.get("/statistics").json()["CountInstances"] == count)


def main(count: int) -> None:
    """Measure each twice, in turns."""
    osteon = str(Path(sys.executable).with_name("osteon"))
    with tempfile.TemporaryDirectory() as name:
        archive = StandaloneProcess(Path(name) / "archive")
        running, sent = archive.start(), 0
        port = str(running.dicom_port)
        commands = {
            "storescu": ("storescu", "-pdu", "131072", "-aec", "OSTEON", "127.0.0.1", port, "+sd"),
            "osteon send --window 1": (osteon, "send", "127.0.0.1", port, "-aec", "OSTEON", "-q", "--window", "1"),
            "osteon send": (osteon, "send", "127.0.0.1", port, "-aec", "OSTEON", "-q"),
            "osteon send -n 4": (osteon, "send", "127.0.0.1", port, "-aec", "OSTEON", "-q", "-n", "4"),
        }
        try:
            for turn in range(2):
                for what, command in commands.items():
                    folder = study(Path(name) / f"{turn} {what}", count)
                    began = time.perf_counter()
                    subprocess.run([*command, folder], check=True, env={**os.environ, "TCP_NODELAY": "1"})
                    seconds = time.perf_counter() - began
                    sent += count
                    # What it does with the instances behind their answers would slow the next one down.
                    eventually(partial(indexed, running, sent), seconds=300)
                    print(f"{what:<24} {count / seconds:4.0f} instances/s")
        finally:
            archive.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
