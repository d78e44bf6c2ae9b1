import random
import tarfile
from pathlib import Path

import pytest

from osteon.dicom.part10 import read_part10
from osteon.packs.tar import BLOCK, PackMember, encode_header, members
from osteon.spool import recovery
from osteon.spool.disk import Disk
from osteon.spool.incoming_instance import IncomingInstance
from osteon.spool.open_packs import OpenPacks, PackLimits, PackSender
from osteon.spool.recovery import recover, salvage
from support.spool.instances import FaultyDisk, contents, data_set

SIZES = (0, 1, BLOCK, 5000)
SENT = {f"1.9.{n}": data_set(f"1.9.{n}", pixels=bytes([n]) * size) for n, size in enumerate(SIZES)}


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """An open pack with every instance of SENT, as a process leaves it that is killed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    packs = OpenPacks(tmp_path, folder, PackSender("a1", "SCANNER", "h"), PackLimits(1 << 30, 60.0), Disk())
    for sop, data in SENT.items():
        announced = IncomingInstance("1.2.840.10008.5.1.4.1.1.2", sop, "1.2.840.10008.1.2.1", "SCANNER", 1_700_000_000)
        packs.append(announced, data)
    packs.commit()
    (path,) = folder.glob("*.tar.part")
    return path


def layout(part: Path) -> list[PackMember]:
    """The members of an open pack."""
    whole = part.read_bytes()
    part.write_bytes(whole + bytes(2 * BLOCK))
    found = list(members(part))
    part.write_bytes(whole)
    return found


def ends(part: Path) -> list[int]:
    """Where they end, padding included."""
    return [member.end for member in layout(part)]


def test_an_open_pack_is_sealed_with_all_its_members_and_facts(part: Path, tmp_path: Path) -> None:
    recovered = recover(part, tmp_path, Disk())
    assert recovered.torn == 0
    pack = recovered.pack
    assert pack is not None
    assert not part.exists()
    sealed = tmp_path / pack.path
    assert contents(sealed) == SENT
    assert (pack.instances, pack.size) == (len(SENT), sealed.stat().st_size)
    assert (pack.study_uid, pack.series_uid, pack.calling_aet) == ("1.2", "1.2.3", "SCANNER")
    assert pack.received_at.timestamp() == 1_700_000_000
    with tarfile.open(sealed) as archive:
        assert [info.name for info in archive] == [f"{sop}.dcm" for sop in SENT]


def positions(part: Path) -> list[int]:
    """Every kind of position: around each border of members, in TAR header, file header, data set and padding."""
    near = {border + shift for border in [0, *ends(part)] for shift in (-1, 0, 1, 200, BLOCK, BLOCK + 140, BLOCK + 500)}
    size = part.stat().st_size
    return sorted(position for position in near if 0 <= position <= size)


def is_there(member: PackMember, written: bytes, whole: bytes) -> bool:
    """Whether all of a member was written, whatever its padding became."""
    end = member.offset + member.length
    return written[:end] == whole[:end] and len(written) >= member.end


def test_a_torn_tail_is_dropped_wherever_it_was_torn(part: Path, tmp_path: Path) -> None:
    sent, whole = layout(part), part.read_bytes()
    for position in positions(part):
        for tail in (b"", b"\0" * 3000, b"\xff" * 700, whole[: BLOCK * 2]):
            part.write_bytes(whole[:position] + tail)
            written = part.read_bytes()
            expected = [m.name.removesuffix(".dcm") for m in sent if is_there(m, written, whole)]
            recovered = recover(part, tmp_path, Disk())
            if not expected:
                assert recovered.pack is None
                assert not any(part.parent.iterdir())
                continue
            assert recovered.pack is not None
            sealed = tmp_path / recovered.pack.path
            assert list(contents(sealed)) == expected
            sealed.unlink()


def test_a_flipped_byte_anywhere_never_lets_a_wrong_instance_through(part: Path, tmp_path: Path) -> None:
    whole = part.read_bytes()
    dice = random.Random(1)
    for _ in range(60):
        changed = bytearray(whole)
        changed[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        part.write_bytes(changed)
        recovered = recover(part, tmp_path, Disk())
        if recovered.pack is None:
            continue
        sealed = tmp_path / recovered.pack.path
        for sop, data in contents(sealed).items():
            assert SENT[sop] == data
        sealed.unlink()


def test_recovery_that_was_itself_interrupted_is_done_again(part: Path, tmp_path: Path) -> None:
    for call in ("truncate", "write", "sync"):
        disk = FaultyDisk()
        disk.faults[call] = OSError(28, "No space left on device")
        with pytest.raises(OSError, match="No space"):
            recover(part, tmp_path, disk)
        assert part.exists()
    recovered = recover(part, tmp_path, Disk())
    assert recovered.pack is not None
    assert contents(tmp_path / recovered.pack.path) == SENT


def test_a_sealed_pack_is_recovered_without_being_changed(part: Path, tmp_path: Path) -> None:
    first = recover(part, tmp_path, Disk()).pack
    assert first is not None
    sealed = tmp_path / first.path
    before = sealed.read_bytes(), sealed.stat().st_mtime_ns
    again = recover(sealed, tmp_path, Disk())
    assert (again.pack, again.torn) == (first, 0)
    assert (sealed.read_bytes(), sealed.stat().st_mtime_ns) == before


def test_of_a_damaged_sealed_pack_the_whole_members_are_saved_and_the_file_is_kept(part: Path, tmp_path: Path) -> None:
    pack = recover(part, tmp_path, Disk()).pack
    assert pack is not None
    sealed = tmp_path / pack.path
    damaged = bytearray(sealed.read_bytes())
    second = list(members(sealed))[1]
    damaged[second.offset + second.length - 1] ^= 1
    sealed.write_bytes(damaged)
    saved = recover(sealed, tmp_path, Disk()).pack
    assert saved is not None
    assert sorted(contents(tmp_path / saved.path)) == ["1.9.0", "1.9.2", "1.9.3"]
    assert sealed.with_name(sealed.name + ".damaged").read_bytes() == damaged


def test_whole_members_behind_a_damaged_one_of_an_open_pack_are_saved_too(part: Path, tmp_path: Path) -> None:
    damaged = bytearray(part.read_bytes())
    second = layout(part)[1]
    damaged[second.offset + second.length - 1] ^= 1
    part.write_bytes(damaged)
    saved = recover(part, tmp_path, Disk()).pack
    assert saved is not None
    assert sorted(contents(tmp_path / saved.path)) == ["1.9.0", "1.9.2", "1.9.3"]
    assert part.with_name(part.name + ".damaged").read_bytes() == damaged


@pytest.mark.parametrize("at", [0, 124, 148, 257, 300])
@pytest.mark.parametrize("behind", [b"", b"torn" * 100, bytes(BLOCK)])
def test_whole_members_behind_a_damaged_tar_header_are_saved(
    part: Path, tmp_path: Path, at: int, behind: bytes
) -> None:
    damaged = bytearray(part.read_bytes() + behind)
    damaged[layout(part)[1].offset - BLOCK + at] ^= 0x55
    part.write_bytes(damaged)
    saved = recover(part, tmp_path, Disk()).pack
    assert saved is not None
    assert sorted(contents(tmp_path / saved.path)) == ["1.9.0", "1.9.2", "1.9.3"]
    assert part.with_name(part.name + ".damaged").read_bytes() == damaged


def test_what_only_looks_like_members_costs_no_more_than_reading_the_file_twice(
    part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = encode_header("1.9.9.dcm", 64 << 10, 0)
    part.write_bytes(part.read_bytes() + b"x" * BLOCK + fake * 2000)
    read: list[int] = []
    monkeypatch.setattr(recovery, "read_part10", lambda file: read.append(len(file)) or read_part10(file))
    recovered = recover(part, tmp_path, Disk())
    assert recovered.pack is not None
    assert recovered.pack.instances == len(SENT)
    assert sum(read) < 3 * 2000 * BLOCK


def test_salvage_takes_no_more_than_was_acknowledged(part: Path, tmp_path: Path) -> None:
    limit = ends(part)[1]
    saved = salvage(part, tmp_path, Disk(), limit=limit).pack
    assert saved is not None
    assert sorted(contents(tmp_path / saved.path)) == ["1.9.0", "1.9.1"]
    assert not part.exists()


def test_a_file_whose_acknowledged_members_cannot_all_be_read_is_kept(part: Path, tmp_path: Path) -> None:
    limit = ends(part)[1]
    broken = bytearray(part.read_bytes())
    broken[limit - BLOCK] ^= 1
    part.write_bytes(broken)
    salvage(part, tmp_path, Disk(), limit=limit)
    assert part.with_name(part.name + ".damaged").read_bytes() == broken


def test_salvage_that_fails_leaves_the_file_and_nothing_else(part: Path, tmp_path: Path) -> None:
    before = part.read_bytes()
    for call in ("write", "sync"):
        disk = FaultyDisk()
        disk.faults[call] = OSError(28, "No space left on device")
        with pytest.raises(OSError, match="No space"):
            salvage(part, tmp_path, disk, limit=len(before))
        assert list(part.parent.iterdir()) == [part]
        assert part.read_bytes() == before


@pytest.mark.parametrize("behind", [bytes(BLOCK), b""], ids=["zeroed header", "sidecar's header"])
def test_a_sealed_pack_that_seems_to_end_before_intact_members_is_damaged(
    part: Path, tmp_path: Path, behind: bytes
) -> None:
    recovered = recover(part, tmp_path, Disk()).pack
    assert recovered is not None
    sealed = tmp_path / recovered.path
    second = list(members(sealed))[1].offset - BLOCK
    damaged = bytearray(sealed.read_bytes())
    damaged[second : second + BLOCK] = behind or encode_header(f"{recovered.pack_id}.meta", 1000, 0)
    sealed.write_bytes(damaged)
    saved = recover(sealed, tmp_path, Disk())
    assert saved.pack is not None
    assert list(contents(tmp_path / saved.pack.path)) == ["1.9.0"]
    assert saved.pack.pack_id != recovered.pack_id
    assert sealed.with_name(sealed.name + ".damaged").read_bytes() == damaged


def test_a_torn_sidecar_without_its_tar_header_is_kept_as_damage_and_costs_no_instance(
    part: Path, tmp_path: Path
) -> None:
    recovered = recover(part, tmp_path, Disk()).pack
    assert recovered is not None
    sealed = tmp_path / recovered.path
    with sealed.open("ab") as file:
        file.write(b"later pages of a sidecar")
    torn = sealed.read_bytes()
    saved = recover(sealed, tmp_path, Disk()).pack
    assert saved is not None
    assert contents(tmp_path / saved.path) == SENT
    assert sealed.with_name(sealed.name + ".damaged").read_bytes() == torn
