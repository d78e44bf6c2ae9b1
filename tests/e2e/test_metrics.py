"""What a running archive counts is exactly what was sent to it and fetched from it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from support.archive.running import RunningArchive, StandaloneProcess, eventually
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes

pytestmark = pytest.mark.slow
CONTEXT = (CTImageStorage, ExplicitVRLittleEndian)
FIND = "1.2.840.10008.5.1.4.1.2.2.1"


class Scrape:
    """The metrics of an archive at one moment."""

    def __init__(self, archive: RunningArchive) -> None:
        families = text_string_to_metric_families(archive.get("/metrics").text)
        self.samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of all values that have these labels."""
        fitting = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        return sum(fitting)

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    process = StandaloneProcess(
        tmp_path_factory.mktemp("metrics") / "data", OSTEON_METRICS_MAX_AETS="2", OSTEON_PREFETCH_THUMBNAILS="0"
    )
    yield process.start()
    process.stop()


def send(archive: RunningArchive, calling: str, *paths: Path) -> list[int]:
    with archive.association(CONTEXT, calling=calling) as association:
        return [association.send_c_store(path).Status for path in paths]


def test_counters_agree_with_what_was_sent(archive: RunningArchive, tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()
    files = [saved(ct_slice(study=study, series=series, number=n), tmp_path) for n in range(7)]
    homeless = ct_slice(study=study)
    del homeless.SeriesInstanceUID
    assert send(archive, "CT1", *files[:3]) == [0, 0, 0]
    assert send(archive, "CT2", *files[3:5]) == [0, 0]
    assert send(archive, "CT3", files[5]) == [0]
    assert send(archive, "CT1", files[0], saved(homeless, tmp_path)) == [0, 0xA900]
    archive.post("/instances", content=files[6].read_bytes())
    eventually(lambda: Scrape(archive)("osteon_indexed_instances_total") == 8)

    eventually(lambda: Scrape(archive)("osteon_spool_packs") == 0)
    archive.get(f"/dicom-web/studies/{study}/instances")
    assert len(archive.find(FIND, QueryRetrieveLevel="STUDY", StudyInstanceUID=study)) == 1
    whole = httpx.get(
        f"{archive.dicomweb}/studies/{study}", headers={"Accept": "multipart/related; type=application/dicom"}
    )
    assert whole.status_code == 200
    eventually(lambda: Scrape(archive)("osteon_associations_open") == 0)
    found = Scrape(archive)

    sizes = [len(dataset_bytes(path)) for path in files]
    by_sender = {"CT1": (4, sum(sizes[:3]) + sizes[0]), "CT2": (2, sum(sizes[3:5])), "other": (1, sizes[5])}
    for sender, (instances, size) in by_sender.items():
        assert found("osteon_received_instances_total", origin="dimse", calling_aet=sender) == instances
        assert found("osteon_received_bytes_total", origin="dimse", calling_aet=sender) == size
        assert found("osteon_last_received_timestamp_seconds", calling_aet=sender) > 1_700_000_000
    assert found("osteon_received_instances_total", origin="http") == 1
    assert found.labels("osteon_associations_total", "calling_aet") == {"CT1", "CT2", "other"}
    assert found("osteon_associations_total", calling_aet="CT1", result="released") == 2
    assert found("osteon_associations_total") == 5
    assert found("osteon_cstore_responses_total", status="0x0000") == 7
    assert found("osteon_cstore_responses_total", status="0xA900") == 1
    assert found("osteon_cstore_ack_duration_seconds_count") == 8
    assert found("osteon_refused_instances_total") == 1

    assert found("osteon_packs_stored_total") == found("osteon_stored_pack_bytes_count") == 5
    assert found("osteon_packs_sealed_total") == 4
    assert found("osteon_spool_bytes") == 0
    assert 0 < found("osteon_spool_fill_ratio") < 2
    assert found("osteon_spool_sync_duration_seconds_count") > 0
    assert found("osteon_indexed_instances_total", state="stored") == 7
    assert found("osteon_indexed_instances_total", state="duplicates") == 1
    assert found("osteon_ingest_lag_seconds_count") == 5
    assert found("osteon_index_batch_packs_sum") == 5
    assert found("osteon_modality_instances_total") == 8
    assert found.labels("osteon_modality_instances_total", "calling_aet") == {"CT1", "CT2", "other"}

    for queue in ("writer.spool", "indexer"):
        handled = found("osteon_messages_handled_total", queue=queue)
        assert handled == found("osteon_queue_wait_duration_seconds_count", queue=queue)
        assert handled == {"writer.spool": 4, "indexer": 5}[queue]
        assert 0 < found("osteon_message_duration_seconds_count", queue=queue) <= handled
        assert found("osteon_queue_messages", queue=queue) == 0
    assert found("osteon_queue_messages", queue="osteon.dead") == 0
    assert found("osteon_object_duration_seconds_count", operation="put_file", result="ok") == 5
    assert found("osteon_object_duration_seconds_count", result="failed") == 0
    assert found("osteon_database_duration_seconds_count", kind="write", result="ok") > 0
    assert found("osteon_database_connections", state="limit") > 0

    assert found("osteon_search_duration_seconds_count", kind="qido") == 1
    assert found("osteon_search_duration_seconds_count", kind="c-find") == 1
    assert found("osteon_dimse_operation_duration_seconds_count", operation="c-find", status="0x0000") == 1
    assert found("osteon_http_items_sent_total", purpose="wado") == 7
    assert found("osteon_http_bytes_sent_total", purpose="wado") > sum(sizes)
    assert found("osteon_http_requests_in_progress") == 1
    assert found("osteon_event_loop_lag_seconds_count") > 0
    assert found("osteon_build_info", service="standalone") == 1
    assert found("process_resident_memory_bytes") > 0


def test_what_the_index_holds_is_shown_within_its_next_look(archive: RunningArchive) -> None:
    statistics = archive.get("/statistics").json()
    shown = Scrape(archive)

    def agree() -> bool:
        nonlocal shown
        shown = Scrape(archive)
        return shown("osteon_archive_resources", level="instance") == statistics["CountInstances"]

    eventually(agree)
    assert shown("osteon_archive_bytes") == int(statistics["TotalDiskSize"])
    assert shown("osteon_archive_resources", level="study") == statistics["CountStudies"]
