"""The light client of the benchmarks: what it sends is what it was given."""

import asyncio
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from osteon.dicom.part10 import read_part10
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from support.dicom.instance_template import InstanceTemplate
from support.dimse.raw_peer import RecordingHandler, running
from support.load.store_client import message, send


async def test_every_instance_arrives_as_it_is_in_its_file(tmp_path: Path) -> None:
    series = [InstanceTemplate(20 << 10).save(tmp_path / str(number), 2) for number in range(2)]
    async with running(handler := RecordingHandler(), max_pdu=16384) as archive:
        sent = await asyncio.to_thread(send, series, [archive.port], "OSTEON")
    expected = [data_set(path) for paths in series for path in paths]
    assert sorted(bytes(sink.data) for sink in handler.sinks) == sorted(expected)
    assert len(sent.latencies) == 4


async def test_an_answer_other_than_success_fails_the_measurement(tmp_path: Path) -> None:
    series = [InstanceTemplate(20 << 10).save(tmp_path / "0", 1)]
    async with running(RecordingHandler(refusal=Outcome(Status.OUT_OF_RESOURCES))) as archive:
        with pytest.raises(AssertionError, match="A700"):
            await asyncio.to_thread(send, series, [archive.port], "OSTEON")


@pytest.mark.parametrize("longest", [1024, 16384])
def test_no_pdu_is_longer_than_the_server_takes(tmp_path: Path, longest: int) -> None:
    encoded = message(InstanceTemplate(20 << 10).save(tmp_path / "0", 1)[0].read_bytes(), longest)
    lengths = []
    while encoded:
        lengths.append(int.from_bytes(encoded[2:6], "big"))
        encoded = encoded[6 + lengths[-1] :]
    assert max(lengths) == longest


def test_instances_differ_in_what_must_be_unique() -> None:
    made = [pydicom.dcmread(BytesIO(b"".join(parts))) for _, parts in InstanceTemplate(20 << 10).series(3)]
    assert len({dataset.SOPInstanceUID for dataset in made}) == 3
    assert len({dataset.SeriesInstanceUID for dataset in made}) == 1
    assert [dataset.file_meta.MediaStorageSOPInstanceUID for dataset in made] == [d.SOPInstanceUID for d in made]
    assert len(made[0].PixelData) == made[0].Rows * made[0].Columns * 2


def data_set(path: Path) -> bytes:
    file = path.read_bytes()
    return file[read_part10(file).data_set_offset :]
