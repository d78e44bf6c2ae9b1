"""ZIP archives and bodies made to cost much, or to be taken for something else."""

import gzip
import io
import lzma
import random
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from osteon_query.http.errors import BadBody, TooLarge
from osteon_query.orthanc.zip_archive import ZipArchive
from support.dicom.datasets import ct_slice
from support.fuzz.case_counts import EFFORT
from support.fuzz.data_sets import peak
from support.packs.sealed_packs import part10
from support.query.application import QuerySettings, RunningQuery, door

MB = 1 << 20
LIMIT = 8 * MB


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[RunningQuery]:
    async with door(tmp_path, QuerySettings(max_upload_bytes=LIMIT)) as running:
        yield running


def unpack(path: Path, limit: int = LIMIT) -> None:
    """Unpack all entries, each to the same file."""
    found = ZipArchive.open(path, 100_000, limit)
    try:
        for entry in found.files():
            out = path.with_suffix(".out")
            out.unlink(missing_ok=True)
            found.extract(entry, out)
    finally:
        found.close()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_what_is_not_unpacked_piece_by_piece_is_refused_unread(tmp_path: Path, method: int) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(zipped({"a": bytes(4 * MB)}, method))

    def refused() -> None:
        with pytest.raises(BadBody, match="neither stored nor deflated"):
            unpack(path)

    assert peak(refused) < MB


def test_a_deflate_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(zipped({"a": bytes(64 * MB)}))

    def refused() -> None:
        with pytest.raises(TooLarge):
            unpack(path)

    assert peak(refused) < 4 * MB


def test_entries_that_share_their_bytes_count_each_time(tmp_path: Path) -> None:
    whole = bytearray(zipped({"a": bytes(MB)}))
    directory = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    entry = bytes(whole[directory:end])
    path = tmp_path / "bomb.zip"
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 100, 100, len(entry) * 100, directory, 0)
    path.write_bytes(bytes(whole[:directory]) + entry * 100 + tail)
    with pytest.raises((TooLarge, BadBody)):
        unpack(path)


@pytest.mark.parametrize("hidden", [False, True], ids=["stated", "hidden"])
def test_a_directory_of_millions_of_entries_is_not_read(tmp_path: Path, hidden: bool) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    count = 400_000
    size = len(entry) * count
    # A signature within the end record makes some readers look at the wrong fields.
    disks = struct.unpack("<2H", b"PK\x05\x06") if hidden else (0, 0)
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", *disks, 0xFFFE, 0xFFFE, size, 0, 0)
    path = tmp_path / "bomb.zip"
    path.write_bytes(entry * count + tail)

    def refused() -> None:
        with pytest.raises((TooLarge, BadBody)):
            unpack(path)

    assert peak(refused) < MB


def test_more_entries_than_a_request_may_have_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    count = 150_000
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFE, 0xFFFE, len(entry) * count, 0, 0)
    path = tmp_path / "many.zip"
    path.write_bytes(entry * count + tail)

    def refused() -> None:
        with pytest.raises(TooLarge, match="entries"):
            unpack(path)

    assert peak(refused) < 20 * MB


async def test_names_of_entries_never_become_paths(archive: RunningQuery, tmp_path: Path) -> None:
    names = ["../../escape.dcm", "/etc/escape.dcm", "a\0b", "..\\..\\escape.dcm", "x" * 60_000, "con", ""]
    datasets = [ct_slice() for _ in names]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, dataset in zip(names, datasets, strict=True):
            packed.writestr(zipfile.ZipInfo(name), part10(dataset))
    response = await archive.http.post("/instances", content=buffer.getvalue())
    assert response.status_code == 200, response.text
    assert not [path for path in tmp_path.rglob("*") if "escape" in path.name]
    assert (await archive.index.statistics()).instances == len(names)


async def test_damaged_archives_are_refused_and_leave_nothing_behind(archive: RunningQuery, tmp_path: Path) -> None:
    dice = random.Random(7)
    whole = zipped({f"{n}.dcm": part10(ct_slice()) for n in range(2)})
    for _ in range(25 * EFFORT):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 3])):
            at = len(whole) - 1 - dice.randrange(200) if dice.random() < 0.7 else dice.randrange(len(whole))
            damaged[at] = dice.randrange(256)
        response = await archive.http.post("/instances", content=bytes(damaged))
        assert response.status_code in {200, 400, 413}, response.text
        assert not list((tmp_path / "uploading").iterdir())
    assert (await archive.http.post("/instances", content=part10(ct_slice()))).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
@pytest.mark.parametrize("path", ["/instances", "/dicom-web/studies"])
async def test_compressed_bodies_are_refused_unread(archive: RunningQuery, path: str, encoding: str) -> None:
    headers = {"Content-Encoding": encoding, "Content-Type": "application/dicom"}
    response = await archive.http.post(path, content=gzip.compress(bytes(MB)), headers=headers)
    assert response.status_code == 415


@pytest.mark.parametrize(
    "body", [gzip.compress(bytes(MB)), zlib.compress(bytes(MB)), lzma.compress(bytes(MB))], ids=["gzip", "zlib", "xz"]
)
async def test_a_compressed_file_is_not_unpacked_unasked(archive: RunningQuery, body: bytes) -> None:
    assert (await archive.http.post("/instances", content=body)).status_code == 400
