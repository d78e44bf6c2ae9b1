"""Stored instances, and the URLs of their pictures."""

from pydicom import Dataset

from support.query.application import WEB, RunningQuery


async def stored(archive: RunningQuery, *datasets: Dataset) -> str:
    """Store instances; return the path of the first one in Orthanc's REST."""
    await archive.stow(*datasets)
    answer = await archive.http.post(
        "/tools/find", json={"Level": "Instance", "Query": {"SOPInstanceUID": datasets[0].SOPInstanceUID}}
    )
    return f"/instances/{answer.json()[0]}"


def url_of(dataset: Dataset, level: int = 3) -> str:
    """Return the DICOMweb URL of a study (1), series (2) or instance (3)."""
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    names = "/studies/", "/series/", "/instances/"
    return WEB + "".join(name + uid for name, uid in zip(names[:level], uids[:level], strict=True))
