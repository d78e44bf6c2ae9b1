import io
import tarfile
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.packs.errors import BadPack
from osteon.packs.ids import new_pack_id
from osteon.packs.pack_writer import Part10File, write_pack
from osteon.packs.tar import BLOCK, END_OF_ARCHIVE, decode_header, encode_header, members

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.integers(0, 2**60), st.integers(0, 2**40))
def test_a_header_reads_back_as_it_was_written_whatever_the_size(size: int, mtime: int) -> None:
    header = decode_header(encode_header("1.2.3.dcm", size, mtime))
    assert header is not None
    assert (header.name, header.size, header.mtime) == ("1.2.3.dcm", size, mtime)


@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 2**40])
def test_pythons_tarfile_reads_the_header_too(size: int) -> None:
    info = tarfile.TarInfo.frombuf(encode_header("1.2.3.dcm", size, 7), "ascii", "strict")
    assert (info.name, info.size, info.mtime, info.isreg()) == ("1.2.3.dcm", size, 7, True)


@pytest.mark.parametrize("name", ["", "../x.dcm", "a/b", "a\0b", "é.dcm", "x" * 101, "/etc/passwd", ".hidden"])
def test_a_name_that_could_climb_out_of_a_folder_is_refused(name: str) -> None:
    with pytest.raises(BadPack, match="name of a member"):
        encode_header(name, 1, 1)


@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_header_with_any_byte_changed_is_refused(position: int, change: int) -> None:
    block = bytearray(encode_header("1.2.3.dcm", 1234, 99))
    block[position] ^= change
    try:
        header = decode_header(bytes(block))
    except BadPack:
        return
    assert header is not None
    assert (header.name, header.size) == ("1.2.3.dcm", 1234)


def test_members_of_a_written_pack_are_the_files_byte_for_byte(tmp_path: Path) -> None:
    contents = [b"", b"x", b"y" * BLOCK, b"z" * (3 * BLOCK + 1)]
    on_disk = tmp_path / "upload"
    on_disk.write_bytes(contents[-1])
    files = [Part10File(f"1.{i}", data) for i, data in enumerate(contents[:-1])] + [Part10File("1.3", on_disk)]
    pack = tmp_path / "pack.tar"
    written = write_pack(pack, files, received_at=NOON)
    data = pack.read_bytes()
    assert (written.size, written.instances) == (len(data), 4)
    found = list(members(pack))
    assert [m.name for m in found] == ["1.0.dcm", "1.1.dcm", "1.2.dcm", "1.3.dcm"]
    assert [data[m.offset : m.offset + m.length] for m in found] == contents
    assert {m.received_at for m in found} == {int(NOON.timestamp())}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert [archive.extractfile(i).read() for i in archive] == contents  # type: ignore[union-attr]


def test_a_pack_that_cannot_be_written_whole_leaves_no_file(tmp_path: Path) -> None:
    pack = tmp_path / "pack.tar"
    with pytest.raises(BadPack):
        write_pack(pack, [Part10File("1.2", b"ok"), Part10File("../x", b"bad")], received_at=NOON)
    assert not pack.exists()


@pytest.mark.parametrize("cut", [1, BLOCK, 2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK])
def test_members_of_a_pack_cut_short_raise(tmp_path: Path, cut: int) -> None:
    pack = tmp_path / "pack.tar"
    write_pack(pack, [Part10File("1.2", b"x" * 700)], received_at=NOON)
    whole = pack.read_bytes()
    pack.write_bytes(whole[:-cut])
    if cut < len(END_OF_ARCHIVE):
        assert len(list(members(pack))) == 1
    else:
        with pytest.raises(BadPack):
            list(members(pack))


def test_pack_ids_are_unique_and_ordered_by_time() -> None:
    ids = [new_pack_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert ids == sorted(ids)
    assert all(uuid.UUID(i).version == 7 and uuid.UUID(i).variant == uuid.RFC_4122 for i in ids)
