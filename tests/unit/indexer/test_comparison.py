"""The same instance in other bytes is a duplicate; DCMTK encodes it otherwise. What differs stays a conflict."""

import asyncio
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from osteon.archive.pack_records import InstanceState
from osteon.archive.resources import InstanceScope
from osteon.contracts.imaging import TranscodeReply, TranscodeRequest
from osteon.contracts.topology import TRANSCODE
from osteon.errors import Unavailable
from osteon.index.sql import SqlIndex
from osteon_indexer.comparison import VersionComparer
from osteon_indexer.sweep import sweep
from support.dicom.datasets import ct_slice
from support.imaging.in_process import InProcessImaging, nothing_below
from support.index.stored_packs import check_sums, sqlite_url
from support.indexer.ports import IndexerPorts, indexer_room
from support.packs.sealed_packs import part10


def rich_slice(**attributes: object) -> Dataset:
    """Return a CT slice with what encodings differ in: sequences, private elements, text, long values, padding."""
    dataset = ct_slice(
        PatientName="Müller^Jörg^^^", StudyDescription="Übersicht Schädel", SeriesDescription="odd", **attributes
    )
    item, inner = Dataset(), Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "1", "99X", "Größe"
    item.ScheduledProcedureStepID, item.ScheduledProtocolCodeSequence = "S1", Sequence([inner, Dataset()])
    dataset.RequestAttributesSequence = Sequence([item])
    dataset.PixelSpacing, dataset.WindowCenter = [0.5, "0.50"], "40"
    block = dataset.private_block(0x0011, "INVENTED 1.0", create=True)
    block.add_new(1, "LO", "text")
    block.add_new(2, "US", [1, 2])
    block.add_new(3, "SQ", Sequence([inner]))
    block.add_new(4, "FD", 0.5)
    block.add_new(5, "OB", b"\1\2\3\4")
    block.add_new(6, "SQ", Sequence([inner] * 200))
    dataset.add(DataElement(0x00281201, "OW", bytes(range(256)) * 2))
    dataset.add(DataElement(0x00420011, "OB", bytes(range(256)) * 20))
    return dataset


def dcmtk(tool: str, file: bytes, folder: Path, *options: str) -> bytes:
    """Encode a file otherwise."""
    source, result = folder / "source.dcm", folder / "result.dcm"
    source.write_bytes(file)
    subprocess.run([tool, *options, source, result], check=True, capture_output=True)
    return result.read_bytes()


def without_length(dataset: Dataset) -> bytes:
    """Return a file with sequences of undefined length, in implicit VR, written by pydicom."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
    buffer = DicomBytesIO()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    dataset.save_as(buffer, implicit_vr=True, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def reencoded() -> float:
    return REGISTRY.get_sample_value("osteon_reencoded_duplicates_total") or 0.0


async def assert_duplicate(room: IndexerPorts, first: bytes | Dataset, second: bytes) -> None:
    """Index two versions; the second is a duplicate: not kept, not open, counted."""
    before = reencoded()
    kept = await room.put("p1", first)
    await room.run(kept)
    again = await room.put("p2", second)
    await room.run(again)
    assert [each.aside.location.sha256 for each in await room.index.conflicts(resolved=None)] == []
    assert (await room.index.statistics()).conflicts == 0
    assert set((await room.index.outcome("p2")).values()) == {InstanceState.DUPLICATE}
    assert await room.keys() == [kept.key]
    assert [at.key async for at in room.index.locate(InstanceScope())] == [kept.key]
    assert reencoded() == before + 1
    await check_sums(room.index)
    await room.run(again)  # delivered once more
    assert reencoded() == before + 1
    assert (await room.index.statistics()).conflicts == 0


async def assert_conflict(room: IndexerPorts, first: bytes | Dataset, second: bytes | Dataset) -> None:
    """Index two versions; both stay."""
    kept, aside = await room.put("p1", first), await room.put("p2", second)
    await room.run(kept)
    await room.run(aside)
    (conflict,) = await room.index.conflicts()
    assert (conflict.served.location.key, conflict.aside.location.key) == (kept.key, aside.key)
    assert await room.keys() == sorted([kept.key, aside.key])
    assert await room.index.uncompared() == []
    await check_sums(room.index)


@pytest.mark.parametrize(
    "options",
    [
        ["+ti"],
        ["+ti", "-e"],
        ["+te", "-e"],
        ["+te", "+e", "+g"],
        ["+ti", "+g", "-e"],
        ["+te", "-p", "+p", "512", "16"],
        ["+te", "--write-new-meta-info", "+g="],
    ],
    ids=" ".join,
)
async def test_another_encoding_of_the_same_data_set_is_a_duplicate(
    room: IndexerPorts, tmp_path: Path, options: list[str]
) -> None:
    file = part10(rich_slice())
    options = [option for option in options if option not in ("-p", "+g=")]
    if "--write-new-meta-info" in options:
        options += ["-u", "+g"]
    await assert_duplicate(room, file, dcmtk("dcmconv", file, tmp_path, *options))


async def test_implicit_vr_first_and_explicit_vr_second_is_a_duplicate(room: IndexerPorts, tmp_path: Path) -> None:
    dataset = rich_slice()
    file = part10(dataset)
    await assert_duplicate(room, without_length(dataset), file)


@pytest.mark.parametrize(("tool", "options"), [
    ("dcmconv", ["+tb"]), ("dcmconv", ["+td"]), ("dcmcrle", []), ("dcmcjpls", []), ("dcmcjpeg", ["+e1"]),
], ids=["big-endian", "deflated", "rle", "jpeg-ls", "jpeg-lossless"])  # fmt: skip
@pytest.mark.parametrize("reverse", [False, True], ids=["native-first", "native-second"])
async def test_pixels_that_are_the_same_once_decoded_are_a_duplicate(
    room: IndexerPorts, tmp_path: Path, tool: str, options: list[str], reverse: bool
) -> None:
    await InProcessImaging(room.objects, tmp_path).serve(room.bus)
    native = part10(rich_slice())
    other = dcmtk(tool, native, tmp_path, *options)
    await assert_duplicate(room, *((other, native) if reverse else (native, other)))
    await nothing_below(room.objects, "cache/transcoded/")


async def test_the_same_lossless_syntax_by_another_encoder_is_a_duplicate(room: IndexerPorts, tmp_path: Path) -> None:
    await InProcessImaging(room.objects, tmp_path).serve(room.bus)
    native = part10(rich_slice())
    await assert_duplicate(
        room, dcmtk("dcmcjpls", native, tmp_path), dcmtk("dcmcjpls", native, tmp_path, "+t1", "50", "+t2", "90")
    )


async def test_the_same_streams_in_other_fragments_are_a_duplicate_and_nothing_is_decoded(
    room: IndexerPorts, tmp_path: Path
) -> None:
    native = part10(rich_slice())
    whole = dcmtk("dcmcjpls", native, tmp_path)
    await assert_duplicate(room, whole, dcmtk("dcmcjpls", native, tmp_path, "+fs", "1", "-ot"))


@pytest.mark.parametrize(("charset", "other"), [
    (["ISO_IR 192"], ["ISO_IR 100"]), (["ISO_IR 100"], ["", "ISO 2022 IR 100"]), (["ISO_IR 192"], ["GB18030"]),
])  # fmt: skip
async def test_the_same_text_in_another_character_set_is_a_duplicate(
    room: IndexerPorts, charset: list[str], other: list[str]
) -> None:
    uids = {"study": generate_uid(), "series": generate_uid(), "SOPInstanceUID": generate_uid()}
    first, second = (part10(rich_slice(SpecificCharacterSet=each, **uids)) for each in (charset, other))
    assert first != second
    await assert_duplicate(room, first, second)


def changed(dataset: Dataset, what: str) -> None:
    """Change one thing that the data set says."""
    match what:
        case "name":
            dataset.PatientName = "Müller^Jorg"
        case "nested":
            dataset.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeMeaning = "Grösse"
        case "item":
            dataset.RequestAttributesSequence[0].ScheduledProtocolCodeSequence.pop()
        case "private":
            dataset.private_block(0x0011, "INVENTED 1.0")[2].value = [1, 3]
        case "private sequence":
            dataset.private_block(0x0011, "INVENTED 1.0")[6].value[150].CodeValue = "2"
        case "bulk":
            dataset[0x00420011].value = bytes(range(256)) * 19 + bytes(256)
        case "pixel":
            dataset.PixelData = dataset.PixelData[:-2] + b"\7\7"
        case "element":
            del dataset.WindowCenter


@pytest.mark.parametrize("what", ["name", "nested", "item", "private", "private sequence", "bulk", "pixel", "element"])
@pytest.mark.parametrize("options", [["+ti"], ["+te", "-e"], ["+tb"]], ids=["implicit", "explicit", "big-endian"])
async def test_a_data_set_that_says_something_else_stays_a_conflict(
    room: IndexerPorts, tmp_path: Path, what: str, options: list[str]
) -> None:
    await InProcessImaging(room.objects, tmp_path).serve(room.bus)
    dataset = rich_slice()
    first = part10(dataset)
    changed(dataset, what)
    await assert_conflict(room, first, dcmtk("dcmconv", part10(dataset), tmp_path, *options))


async def test_lossy_pixels_are_compared_as_stored_only(room: IndexerPorts, tmp_path: Path) -> None:
    await InProcessImaging(room.objects, tmp_path).serve(room.bus)
    dataset = ct_slice(BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(64 * 64))
    dataset["PixelData"].VR = "OB"
    native = part10(dataset)
    lossy = dcmtk("dcmcjpeg", native, tmp_path, "+eb", "+un")
    await assert_conflict(room, native, lossy)


async def test_text_that_cannot_be_read_is_not_compared(room: IndexerPorts) -> None:
    dataset = ct_slice(StudyDescription="x")
    first = part10(dataset).replace(b"Test study", b"Test\xff\xffudy").replace(b"\x02\0x ", b"\x02\0\xfe\xfe")
    second = first.replace(b"\xfe\xfe", b"\xfd\xfd")
    assert first != second
    await assert_conflict(room, first, second)


async def test_a_longer_instance_than_the_limit_stays_a_conflict(room: IndexerPorts, tmp_path: Path) -> None:
    room.comparer = VersionComparer(room.objects, room.bus, limit=4096)
    file = part10(rich_slice())
    await assert_conflict(room, file, dcmtk("dcmconv", file, tmp_path, "+ti"))


async def test_a_pack_of_duplicates_and_new_instances_keeps_the_new_ones(room: IndexerPorts, tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()
    known = [rich_slice(study=study, series=series, number=n) for n in range(3)]
    new = rich_slice(study=study, series=series, number=9)
    await room.run(await room.put("p1", *known))
    again = await room.put("p2", *(dcmtk("dcmconv", part10(each), tmp_path, "+ti") for each in (*known, new)))
    await room.run(again)
    assert (await room.index.statistics()).conflicts == 0
    assert sorted((await room.index.outcome("p2")).values()) == ["duplicate"] * 3 + ["stored"]
    assert await room.objects.size(again.key) == again.size
    await check_sums(room.index)


async def test_copies_in_one_batch_are_all_duplicates(room: IndexerPorts, tmp_path: Path) -> None:
    file = part10(rich_slice())
    implicit, undefined = dcmtk("dcmconv", file, tmp_path, "+ti"), dcmtk("dcmconv", file, tmp_path, "+ti", "-e")
    packs = [await room.put(f"p{n}", each) for n, each in enumerate((file, implicit, implicit, undefined))]
    await room.run(*packs)
    assert (await room.index.statistics()).conflicts == 0
    assert await room.keys() == [packs[0].key]
    await check_sums(room.index)


async def test_a_version_that_equals_one_kept_aside_is_a_duplicate_too(room: IndexerPorts, tmp_path: Path) -> None:
    dataset = rich_slice()
    first = part10(dataset)
    dataset.PatientName = "Other"
    second = part10(dataset)
    await assert_conflict(room, first, second)
    await room.run(await room.put("p3", dcmtk("dcmconv", second, tmp_path, "+ti")))
    (conflict,) = await room.index.conflicts()
    assert conflict.aside.pack_id == "p2"
    assert set((await room.index.outcome("p3")).values()) == {InstanceState.DUPLICATE}


async def test_what_cannot_be_decoded_now_is_compared_by_the_next_sweep(room: IndexerPorts, tmp_path: Path) -> None:
    native = part10(rich_slice())
    kept, again = await room.put("p1", native), await room.put("p2", dcmtk("dcmcrle", native, tmp_path))
    room.comparer = VersionComparer(room.objects)
    await room.run(kept, again)
    assert (await room.index.statistics()).conflicts == 1
    await InProcessImaging(room.objects, tmp_path).serve(room.bus)
    comparer = VersionComparer(room.objects, room.bus, timeout=30)
    await sweep(objects=room.objects, index=room.index, bus=room.bus, comparer=comparer)
    assert (await room.index.statistics()).conflicts == 0
    assert await room.keys() == [kept.key]
    await check_sums(room.index)


async def test_a_comparison_that_hangs_holds_up_no_other_pack(room: IndexerPorts, tmp_path: Path) -> None:
    began, silent = asyncio.Event(), asyncio.Event()

    async def hang(_request: TranscodeRequest) -> TranscodeReply:
        began.set()
        await silent.wait()
        raise AssertionError("never answered")

    await room.bus.serve(TRANSCODE, hang)
    native = part10(rich_slice())
    kept, again = await room.put("p1", native), await room.put("p2", dcmtk("dcmcrle", native, tmp_path))
    room.comparer = VersionComparer(room.objects, room.bus, timeout=3600)
    await room.index_only(kept, again)
    await began.wait()
    await room.index_only(await room.put("p3", ct_slice()))
    await room.until_announced("p1", "p3")
    assert "p2" not in {event.pack_id for event in room.indexed}
    assert room.waiting == {"p2"}
    assert (await room.index.statistics()).conflicts == 1


async def test_one_silence_of_imaging_ends_the_comparison_of_a_pack(room: IndexerPorts, tmp_path: Path) -> None:
    requests: list[TranscodeRequest] = []

    async def refuse(request: TranscodeRequest) -> TranscodeReply:
        requests.append(request)
        raise Unavailable("busy")

    await room.bus.serve(TRANSCODE, refuse)
    study, series = generate_uid(), generate_uid()
    files = [part10(rich_slice(study=study, series=series, number=n)) for n in range(3)]
    await room.run(await room.put("p1", *files))
    await room.run(await room.put("p2", *(dcmtk("dcmcrle", file, tmp_path) for file in files)))
    await room.until_announced("p1", "p2")
    assert len(requests) == 1
    assert (await room.index.statistics()).conflicts == 3


async def test_an_index_made_again_finds_the_duplicates_again(room: IndexerPorts, tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()
    known, new = (rich_slice(study=study, series=series, number=n) for n in (1, 2))
    await room.run(await room.put("p1", known))
    await room.run(await room.put("p2", *(dcmtk("dcmconv", part10(each), tmp_path, "+ti") for each in (known, new))))
    again = SqlIndex(sqlite_url(tmp_path / "again.sqlite"))
    await again.start()
    assert await sweep(objects=room.objects, index=again, min_age=timedelta(0)) == 2
    assert await again.statistics() == await room.index.statistics()
    await again.close()


@pytest.mark.parametrize("lost", ["served pack", "served sidecar"])
async def test_nothing_is_deleted_for_a_version_whose_objects_are_gone(
    room: IndexerPorts, tmp_path: Path, lost: str
) -> None:
    file = part10(rich_slice())
    first = await room.put_separately("p1", file)
    await room.run(first)
    await room.objects.delete(first.key if lost == "served pack" else first.sidecar.key)
    again = await room.put("p2", dcmtk("dcmconv", file, tmp_path, "+ti"))
    await room.run(again)
    assert await room.objects.size(again.key) == again.size
    assert (await room.index.statistics()).conflicts == 1


async def test_the_newest_version_is_served_where_that_is_set_and_a_duplicate_changes_nothing(tmp_path: Path) -> None:
    async with indexer_room(tmp_path, newest=True) as room:
        dataset = rich_slice()
        file = part10(dataset)
        await assert_duplicate(room, file, dcmtk("dcmconv", file, tmp_path, "+ti"))
        dataset.PatientName = "Other"
        newest = await room.put("p3", dataset)
        await room.run(newest)
        assert [at.key async for at in room.index.locate(InstanceScope())] == [newest.key]
        (conflict,) = await room.index.conflicts()
        assert (conflict.served.pack_id, conflict.aside.pack_id) == ("p3", "p1")
        await check_sums(room.index)
        again = SqlIndex(sqlite_url(tmp_path / "again.sqlite"), newest=True)
        await again.start()
        await sweep(objects=room.objects, index=again, min_age=timedelta(0))
        assert [at.key async for at in again.locate(InstanceScope())] == [newest.key]
        await again.close()
