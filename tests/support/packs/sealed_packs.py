"""Packs of invented instances, as `ingress` leaves them in a spool."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread

from osteon.contracts.packs import Origin, PackFacts, PackSealed
from osteon.dicom.header.reader import HeaderReader
from osteon.packs import sidecar
from osteon.packs.pack_writer import Part10File, write_pack
from osteon.packs.sidecar_member import without_trailer


def part10(dataset: Dataset) -> bytes:
    """Return a data set as a Part 10 file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def sealed_pack(spool: Path, pack_id: str, instances: Sequence[Dataset | bytes], *, seconds_ago: int = 0) -> PackSealed:
    """Write a pack of one series, of data sets or Part 10 files, into a spool folder and return its announcement."""
    (spool / "owner").mkdir(parents=True, exist_ok=True)
    received_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    datasets = [dcmread(BytesIO(each)) if isinstance(each, bytes) else each for each in instances]
    files = [
        Part10File(str(dataset.SOPInstanceUID), each if isinstance(each, bytes) else part10(dataset))
        for dataset, each in zip(datasets, instances, strict=True)
    ]
    path = f"owner/{pack_id}.tar"
    written = write_pack(spool / path, files, received_at=received_at)
    return PackSealed(
        correlation_id=f"test-{pack_id}",
        pack_id=pack_id,
        study_uid=str(datasets[0].StudyInstanceUID),
        series_uid=str(datasets[0].SeriesInstanceUID),
        origin=Origin.DIMSE,
        calling_aet="CT1",
        received_at=received_at,
        instances=written.instances,
        size=written.size,
        spool_id="spool",
        path=path,
    )


def separate_sidecar(path: Path, facts: PackFacts) -> bytes:
    """Return the sidecar of the pack at `path` alone."""
    tail = sidecar.build(path, facts, HeaderReader()).tail
    return bytes(without_trailer(tail.data[tail.sidecar_offset - tail.start :]))
