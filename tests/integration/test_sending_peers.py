"""Sending to DCMTK's storescp and to pynetdicom: what they accept, refuse, break off and do not answer."""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, JPEG2000Lossless, MRImageStorage
from pynetdicom import AE, evt

from osteon.contracts.imaging import TranscodeReply, TranscodeRequest
from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.errors import NoAnswer
from osteon.dimse.requestor import Remote, RequestorConfig, associate
from osteon.sending.store_sender import StoreSender
from osteon.sending.suboperations import SubOperationResult
from osteon_local.part import free_port
from support.archive.running import eventually
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes
from support.dimse.pynetdicom_acceptor import accepting
from support.dimse.raw_peer import IMPLICIT
from support.sending.fakes import MemoryPacks, each

pytestmark = pytest.mark.slow


@contextmanager
def pynetdicom(contexts: dict[str, list[str]], on_store: Callable[[evt.Event], int]) -> Iterator[Remote]:
    """Run a receiver that takes these SOP classes in these transfer syntaxes."""
    entity = AE("SINK")
    for sop_class, syntaxes in contexts.items():
        entity.add_supported_context(sop_class, syntaxes)
    with accepting(entity, (evt.EVT_C_STORE, on_store)) as port:
        yield Remote(aet="SINK", host="127.0.0.1", port=port)


def stored(
    packs: MemoryPacks, folder: Path, count: int, key: str = "1/1/a.tar", **attributes: object
) -> list[PlannedInstance]:
    """Put real files into a pack."""
    planned, pack = [], packs.objects.setdefault(key, bytearray())
    for number in range(count):
        path = saved(ct_slice(number=number, **attributes), folder)
        data, read = path.read_bytes(), dcmread(path, stop_before_pixels=True)
        planned.append(
            PlannedInstance(
                sop_class_uid=read.SOPClassUID, sop_instance_uid=read.SOPInstanceUID,
                transfer_syntax_uid=read.file_meta.TransferSyntaxUID, key=key, offset=len(pack), length=len(data),
            )
        )  # fmt: skip
        pack += data
    return planned


async def deliver(
    sending: StoreSender, remote: Remote, planned: Sequence[PlannedInstance], **config: float
) -> list[SubOperationResult]:
    connect = partial(associate, remote, config=RequestorConfig(**config))
    return [sent async for sent in sending.deliver(connect, each(planned), move_originator=("ASKER", 7))]


@pytest.mark.skipif(shutil.which("storescp") is None, reason="DCMTK is not installed")
async def test_storescp_gets_data_sets_byte_for_byte(tmp_path):
    packs, port, sink = MemoryPacks(), free_port(), tmp_path / "sink"
    sink.mkdir()
    planned = stored(packs, tmp_path, 20)
    command = ["storescp", "-od", str(sink), "+B", str(port)]
    with subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"}) as process:
        try:
            remote = Remote(aet="SINK", host="127.0.0.1", port=port)
            await asyncio.to_thread(
                eventually, lambda: subprocess.run(["echoscu", "127.0.0.1", str(port)], check=False).returncode == 0
            )
            results = await deliver(StoreSender(packs, None), remote, planned)
        finally:
            process.terminate()
    assert {sent.reason for sent in results} == {""}
    received = {str(dcmread(path).SOPInstanceUID): dataset_bytes(path) for path in sink.iterdir()}
    sent = {path.stem: dataset_bytes(path) for path in tmp_path.glob("*.dcm")}
    assert received == sent


async def test_a_class_that_is_refused_fails_and_the_others_arrive(tmp_path):
    packs, got = MemoryPacks(), []
    planned = stored(packs, tmp_path, 3) + stored(packs, tmp_path, 2, SOPClassUID=MRImageStorage)

    def on_store(event: evt.Event) -> int:
        got.append((event.request.MoveOriginatorApplicationEntityTitle, event.request.MoveOriginatorMessageID))
        return 0

    with pynetdicom({CTImageStorage: ["1.2.840.10008.1.2.1"]}, on_store) as remote:
        results = await deliver(StoreSender(packs, None), remote, planned)
    assert [sent.counts_as.value for sent in results] == ["completed"] * 3 + ["failed"] * 2
    assert results[-1].reason == f"the peer does not accept SOP class {MRImageStorage}"
    assert got == [("ASKER", 7)] * 3


async def test_a_peer_that_takes_implicit_vr_only_gets_it(tmp_path):
    packs, got = MemoryPacks(), []
    planned = stored(packs, tmp_path, 2)

    class Imaging:
        async def request(self, queue: object, message: TranscodeRequest, *, timeout: float) -> TranscodeReply:
            assert message.targets == [IMPLICIT]
            (source,) = (each for each in planned if each.offset == message.offset)
            dataset = dcmread(tmp_path / f"{source.sop_instance_uid}.dcm")
            body = DicomBytesIO()
            body.is_little_endian, body.is_implicit_VR = True, True
            write_dataset(body, dataset)
            key = f"cache/{source.sop_instance_uid}"
            made = packs.add(1, key=key, uid=source.sop_instance_uid, syntax=IMPLICIT)
            header = bytes(packs.objects[key][made.offset : made.offset + made.length - 1])
            packs.objects[key] = bytearray(header + body.getvalue())
            return TranscodeReply(
                correlation_id="", key=key, length=len(packs.objects[key]), transfer_syntax_uid=IMPLICIT
            )

    def on_store(event: evt.Event) -> int:
        got.append((event.context.transfer_syntax, event.dataset.PixelData, event.dataset.SOPInstanceUID))
        return 0

    with pynetdicom({CTImageStorage: [IMPLICIT]}, on_store) as remote:
        results = await deliver(StoreSender(packs, Imaging(), verify=False), remote, planned)
    assert {sent.reason for sent in results} == {""}
    originals = [dcmread(tmp_path / f"{each.sop_instance_uid}.dcm") for each in planned]
    assert got == [(IMPLICIT, each.PixelData, each.SOPInstanceUID) for each in originals]


async def test_a_peer_that_aborts_in_the_middle_gets_the_rest_on_another_association(tmp_path):
    packs, got = MemoryPacks(), []
    planned = stored(packs, tmp_path, 6)

    def on_store(event: evt.Event) -> int:
        got.append(event.request.AffectedSOPInstanceUID)
        if len(got) == 4:
            event.assoc.abort()
        return 0

    with pynetdicom({CTImageStorage: ["1.2.840.10008.1.2.1"]}, on_store) as remote:
        results = await deliver(StoreSender(packs, None), remote, planned)
    assert {sent.reason for sent in results} == {""}
    uids = [each.sop_instance_uid for each in planned]
    assert got == uids[:4] + uids[3:]


async def test_a_peer_that_does_not_answer_is_given_up_in_time(tmp_path):
    packs, go = MemoryPacks(), threading.Event()
    planned = stored(packs, tmp_path, 3)

    def on_store(event: evt.Event) -> int:
        go.wait(10)
        return 0

    with pynetdicom({CTImageStorage: ["1.2.840.10008.1.2.1"]}, on_store) as remote:
        try:
            with pytest.raises(NoAnswer):
                await deliver(StoreSender(packs, None), remote, planned, dimse_timeout=0.3)
        finally:
            go.set()


async def test_what_is_stored_compressed_is_sent_as_it_is_to_who_takes_it(tmp_path):
    packs, got = MemoryPacks(), []
    (planned,) = stored(packs, tmp_path, 1)
    compressed = packs.add(200, uid="1.2.3", syntax=JPEG2000Lossless, key="1/1/b.tar")

    def on_store(event: evt.Event) -> int:
        got.append(event.context.transfer_syntax)
        return 0

    both = ["1.2.840.10008.1.2.1", JPEG2000Lossless]
    with pynetdicom({CTImageStorage: both}, on_store) as remote:
        results = await deliver(StoreSender(packs, None), remote, [planned, compressed])
    assert {sent.reason for sent in results} == {""}
    assert got == both
