import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from osteon.bus.memory import MemoryBus
from osteon.contracts.packs import PackIndexed, PackSealed
from osteon.contracts.topology import writer_queue
from osteon.errors import OsteonError
from osteon.metrics import ASSOCIATIONS_OPEN, RECEIVED_INSTANCES
from osteon.objects.folder import FolderObjects
from osteon_ingress.build import build, build_embedded
from osteon_ingress.settings import IngressServiceSettings
from support.dicom.datasets import ct_slice
from support.metric_values import value
from support.services.embedded import embedded
from support.spool.instances import contents


def settings(folder: Path, **changes: Any) -> IngressServiceSettings:
    return IngressServiceSettings(**{"spool_dir": folder, "dicom_port": 0, "drain_seconds": 2.0, **changes})


@asynccontextmanager
async def ingress(
    folder: Path, handler: Callable[[MemoryBus, PackSealed], Any] | None = None, **changes: Any
) -> AsyncIterator[tuple[int, list[PackSealed]]]:
    """Run the service on an in-memory bus; yields its port and the packs that its writer was told of."""
    bus, packs = MemoryBus(), list[PackSealed]()
    await bus.start()

    async def write(message: PackSealed) -> None:
        packs.append(message)
        if handler is not None:
            await handler(bus, message)

    try:
        async with embedded(
            build_embedded, settings(folder, **changes), bus=bus, objects=FolderObjects(folder)
        ) as running:
            await bus.consume(writer_queue("spool"), write)
            await running.checks["spool"]()
            yield running.ports["dicom"], packs
    finally:
        await bus.close(grace=1)


def send(port: int, *instances: Dataset) -> list[Any]:
    """Store instances on one association, after a C-ECHO; return the responses."""
    ae = AE("SCANNER")
    ae.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", port)
    assert association.is_established
    try:
        assert association.send_c_echo().Status == 0
        return [association.send_c_store(instance) for instance in instances]
    finally:
        association.release()


def received_instances(calling_aet: str) -> float:
    labels = {"origin": "dimse", "calling_aet": calling_aet}
    return REGISTRY.get_sample_value("osteon_received_instances_total", labels) or 0.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_a_modality_sends_reaches_the_writer_as_a_pack_of_each_series(tmp_path: Path) -> None:
    received = RECEIVED_INSTANCES.labels(origin="dimse", calling_aet="SCANNER")
    before = value(received)
    slices = [ct_slice(study="1.2.5", series=f"1.2.5.{n % 2}", number=n) for n in range(6)]
    async with ingress(tmp_path) as (port, packs):
        responses = await asyncio.to_thread(send, port, *slices)
        assert [response.Status for response in responses] == [0] * 6
        await until(lambda: len(packs) == 2)
        assert {(p.study_uid, p.series_uid, p.instances, p.calling_aet) for p in packs} == {
            ("1.2.5", "1.2.5.0", 3, "SCANNER"),
            ("1.2.5", "1.2.5.1", 3, "SCANNER"),
        }
        found = {sop for pack in packs for sop in contents(tmp_path / pack.path)}
        assert found == {str(dataset.SOPInstanceUID) for dataset in slices}
        assert value(received) - before == 6
        await until(lambda: value(ASSOCIATIONS_OPEN) == 0)


async def test_an_instance_without_its_series_is_refused_with_the_tag(tmp_path: Path) -> None:
    bad = ct_slice()
    del bad.SeriesInstanceUID
    async with ingress(tmp_path) as (port, packs):
        (response,) = await asyncio.to_thread(send, port, bad)
        assert response.Status == 0xA900
        assert "(0020,000E)" in response.ErrorComment
        assert not packs


async def test_an_answer_waits_for_the_index_when_so_set(tmp_path: Path) -> None:
    order = []

    async def write(bus: MemoryBus, message: PackSealed) -> None:
        order.append("indexed")
        await bus.publish(PackIndexed(**message.model_dump(), stored=1))

    async with ingress(tmp_path, write, ack_after="index") as (port, _):
        responses = await asyncio.to_thread(send, port, ct_slice(), ct_slice())
        assert [response.Status for response in responses] == [0, 0]
        assert order == ["indexed", "indexed"]


@pytest.mark.slow
async def test_the_door_opens_and_stores_without_a_broker_and_the_next_process_publishes(tmp_path: Path) -> None:
    unreachable = settings(tmp_path, amqp_url="amqp://guest:guest@127.0.0.1:1/", drain_seconds=0.1)
    async with build(unreachable) as running:
        (response,) = await asyncio.to_thread(send, running.ports["dicom"], ct_slice())
        assert response.Status == 0
    async with ingress(tmp_path) as (_, packs):
        await until(lambda: packs)
        assert packs[0].instances == 1


async def test_a_port_that_is_taken_stops_the_start_with_its_setting(tmp_path: Path) -> None:
    async with ingress(tmp_path) as (port, _):
        with pytest.raises(OsteonError, match="OSTEON_DICOM_PORT"):
            async with embedded(
                build_embedded, settings(tmp_path, dicom_port=port), bus=MemoryBus(), objects=FolderObjects(tmp_path)
            ):
                pass
