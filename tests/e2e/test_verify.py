"""`osteon verify` and `osteon conflicts` on an archive that is damaged for real."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import Dataset

from support.archive.running import StandaloneProcess, eventually
from support.dicom.datasets import ct_slice, saved

pytestmark = pytest.mark.slow


def osteon(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an operator does."""
    command = [sys.executable, "-m", "osteon.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def verify(data: Path, *options: str) -> tuple[int, dict[str, str], dict]:
    """Return the exit code, object key → kind of problem, and the sums."""
    done = osteon("verify", "--data", str(data), "--json", *options)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {line["key"]: line["kind"] for line in lines[:-1]}, lines[-1]["summary"]


def send(process: StandaloneProcess, folder: Path, *datasets: Dataset) -> None:
    packs = int(process.archive.get("/statistics").json()["CountPacks"])
    assert set(process.archive.send([saved(dataset, folder) for dataset in datasets])) == {0x0000}
    eventually(lambda: int(process.archive.get("/statistics").json()["CountPacks"]) >= packs + len(datasets))


def test_every_damage_is_named_and_a_healthy_archive_passes_while_it_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = StandaloneProcess(data)
    archive = process.start()
    images = [ct_slice(number=n, StudyDate=f"2024010{n}") for n in range(1, 7)]
    send(process, tmp_path, *images)
    other = ct_slice(study=images[0].StudyInstanceUID, series=images[0].SeriesInstanceUID, number=9)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = images[0].SOPInstanceUID
    send(process, tmp_path, other)
    (conflict,) = archive.get("/conflicts").json()
    shown = osteon("conflicts", "resolve", str(conflict["Id"]), "--keep", "second", "--data", str(data))
    assert (shown.returncode, "second (served)" in shown.stdout) == (0, True), shown.stderr
    assert archive.get("/statistics").json()["CountConflicts"] == 0
    assert archive.get("/dicom-web/instances", params={"InstanceNumber": 9}).status_code == 200
    code, problems, sums = verify(data, "--deep")
    assert (code, problems, sums["packs"]) == (0, {}, 7)
    assert sums["bytes"] > 7 * 8192
    assert process.stop() == 0

    def pack_of(image: Dataset) -> Path:
        (pack,) = (data / "objects").glob(f"{image.StudyInstanceUID}/*/*.tar")
        return pack

    lost, cut, flipped, rowless, unlisted = (pack_of(image) for image in images[1:])
    lost.unlink()
    os.truncate(cut, 5000)
    content = bytearray(flipped.read_bytes())
    content[4000] ^= 1
    flipped.write_bytes(content)
    orphan = data / "objects" / "1.2.3" / "1.2.3.4" / "0000.tar"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"nobody knows me")
    with sqlite3.connect(data / "index.sqlite") as database:
        of_pack = "WHERE pack = (SELECT id FROM packs WHERE pack_id = ?)"
        database.execute(f"DELETE FROM instances {of_pack}", (rowless.stem,))
        database.execute(f"DELETE FROM instances {of_pack}", (unlisted.stem,))
        database.execute("DELETE FROM packs WHERE pack_id = ?", (unlisted.stem,))
    database.close()
    code, problems, _ = verify(data, "--deep", "--grace", "0")
    assert code == 1
    assert {(data / "objects" / key): kind for key, kind in problems.items()} == {
        lost: "pack-lost",
        cut: "pack-length",
        flipped: "instance-damaged",
        rowless: "rows-missing",
        unlisted: "not-indexed",
        orphan: "pack-without-sidecar",
    }
    code, problems, _ = verify(data, "--study", str(images[1].StudyInstanceUID))
    assert (code, set(problems.values())) == (1, {"pack-lost"})

    orphan.unlink()
    archive = process.start()
    send_again = [saved(images[n], tmp_path) for n in (1, 2)]
    assert archive.send(send_again) == [0x0000] * 2
    left = {str(rowless.relative_to(data / "objects")): "rows-missing"}
    eventually(lambda: verify(data, "--grace", "0")[1] == left, seconds=60)
    accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    for image in images[1:3]:
        found = archive.get(f"/dicom-web/studies/{image.StudyInstanceUID}", headers=accept)
        assert image.PixelData in found.content
    process.stop()


def test_what_can_not_be_verified_ends_with_2(tmp_path: Path) -> None:
    done = osteon("verify", "--data", str(tmp_path / "nothing"))
    assert (done.returncode, "no folder `objects`" in done.stderr) == (2, True)
    assert osteon("verify", "--limit-rate", "fast").returncode == 2
    assert osteon("conflicts", "show", "1", "--data", str(tmp_path)).returncode == 1
