"""The sidecar is the last member of an ordinary TAR file, and is found from its end."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from osteon.contracts.packs import PackFacts
from osteon.dicom.header.reader import HeaderReader
from osteon.packs import sidecar
from osteon.packs.sidecar_member import PackTail, TailWriter, sidecar_offset, without_trailer
from osteon.packs.tar import BLOCK, members
from support.dicom.datasets import ct_slice
from support.packs.sealed_packs import sealed_pack


def stored_pack(folder: Path) -> tuple[Path, PackFacts, PackTail]:
    """Write a pack as it is in the object store."""
    sealed = sealed_pack(folder, "p1", [ct_slice()])
    path = folder / sealed.path
    tail = sidecar.build(path, sealed, HeaderReader()).tail
    path.write_bytes(path.read_bytes()[: tail.start] + tail.data)
    return path, sealed, tail


def test_gnu_tar_lists_and_extracts_it_without_a_warning(tmp_path: Path) -> None:
    path, _, _ = stored_pack(tmp_path)
    (instance,) = members(path)
    shown = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True)
    assert (shown.stdout.split(), shown.stderr) == ([instance.name, "p1.meta"], "")
    subprocess.run(["tar", "xf", path, "-C", tmp_path], check=True, capture_output=True)
    assert path.read_bytes()[instance.offset :][: instance.length] == (tmp_path / instance.name).read_bytes()


def test_the_member_is_a_zstd_file_whose_first_line_is_about_the_pack(tmp_path: Path) -> None:
    path, sealed, _ = stored_pack(tmp_path)
    with tarfile.open(path) as tar:
        content = tar.extractfile("p1.meta").read()
    (tmp_path / "p1.meta.zst").write_bytes(content)
    shown = subprocess.run(["zstd", "-dc", tmp_path / "p1.meta.zst"], capture_output=True, check=True)
    assert shown.stdout.startswith(b'{"pack":{')
    assert len(shown.stdout.splitlines()) == 2
    assert sidecar.decode(content)[0].pack_id == sealed.pack_id


def test_a_pack_that_has_its_sidecar_already_gets_the_same_again(tmp_path: Path) -> None:
    path, sealed, tail = stored_pack(tmp_path)
    assert sidecar.build(path, sealed, HeaderReader()).tail == tail


@pytest.mark.parametrize("length", [*range(3), *range(460, 520), 5_000], ids=str)
def test_a_sidecar_of_any_length_is_found_from_the_end_of_the_pack(length: int) -> None:
    content = os.urandom(length)
    writer = TailWriter()
    writer.write(content)
    tail = writer.finish("p1", 7 * BLOCK, 0)
    assert tail.size % BLOCK == 0
    for known in (2 * BLOCK + 40, len(tail.data)):
        assert sidecar_offset(tail.data[-known:], tail.size) == tail.sidecar_offset == 8 * BLOCK
    assert without_trailer(tail.data[BLOCK:]) == content


def test_what_has_no_sidecar_or_another_length_is_not_taken_for_a_pack_with_one() -> None:
    writer = TailWriter()
    tail = writer.finish("p1", 0, 0)
    assert sidecar_offset(tail.data, tail.size) == BLOCK
    for end, size in ((tail.data[:-1], tail.size - 1), (tail.data + b"\0", tail.size + 1), (tail.data, 4_096)):
        assert sidecar_offset(end, size) is None
    for end in (b"", bytes(100), bytes(4_096), os.urandom(4_096)):
        assert sidecar_offset(end, len(end)) is None
        assert without_trailer(end) == end
