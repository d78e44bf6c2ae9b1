"""A study that is opened again comes from the local folder: the object store is not asked."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom.uid import generate_uid

from support.archive.running import RunningArchive, eventually
from support.dicom.datasets import ct_slice, saved

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives")]
NUMBER = "osteon_object_duration_seconds_count"
OCTETS = 'multipart/related; type="application/octet-stream"'
DICOM = 'multipart/related; type="application/dicom"'


def requests(archive: RunningArchive) -> float:
    """Return how many requests to the object store `query` has made to read objects."""
    families = text_string_to_metric_families(archive.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == NUMBER]
    return sum(sample.value for sample in samples if sample.labels["operation"] in {"get", "get_range", "stream"})


def test_the_store_is_not_asked_for_a_study_that_is_opened_again(cluster: RunningArchive, tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()
    sent = [ct_slice(study=study, series=series, number=number) for number in range(5)]
    assert set(cluster.send([saved(dataset, tmp_path) for dataset in sent])) == {0}
    below = f"/dicom-web/studies/{study}/series/{series}"
    eventually(lambda: cluster.get(f"{below}/instances").content.count(b"00080018") == 5)

    def open_study() -> None:
        cluster.get(f"{below}/metadata")
        frames = [
            cluster.get(f"{below}/instances/{dataset.SOPInstanceUID}/frames/1", headers={"Accept": OCTETS})
            for dataset in sent
        ]
        assert all(dataset.PixelData in frame.content for dataset, frame in zip(sent, frames, strict=True))
        files = cluster.get(below, headers={"Accept": DICOM}).content
        assert all(dataset.PixelData in files for dataset in sent)

    def opens_without_the_store() -> bool:
        before = requests(cluster)
        open_study()
        return requests(cluster) == before

    open_study()
    eventually(opens_without_the_store)
