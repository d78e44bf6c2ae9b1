"""Which instance represents a series or a study: the one in the middle of its images."""

from typing import Final

from osteon.archive.ports import ResourceSearch
from osteon.archive.resources import Location, Match
from osteon.dicom.models import Level
from osteon.dicom.query import MatchingKey, Order, Search, Single

_NO_IMAGES: Final = frozenset(
    ("SR", "PR", "KO", "AU", "DOC", "ECG", "EPS", "HD", "PLAN", "REG", "RTSTRUCT", "RTPLAN", "RTRECORD", "SEG", "STAIN")
)
"""Modalities whose instances are not images."""
_SERIES: Final = 500


async def of_series(index: ResourceSearch, study_uid: str, series_uid: str) -> Location | None:
    """Return the middle instance of a series by Instance Number; None when there is no such series."""
    conditions = (
        MatchingKey(("StudyInstanceUID",), Single(study_uid)),
        MatchingKey(("SeriesInstanceUID",), Single(series_uid)),
    )
    page = await index.search(Search(Level.SERIES, conditions, limit=1))
    return await _middle(index, page.matches[0]) if page.matches else None


async def of_study(index: ResourceSearch, study_uid: str) -> Location | None:
    """Return the middle instance of the largest series with images; None when there is no such study."""
    series = await image_series(index, MatchingKey(("StudyInstanceUID",), Single(study_uid)))
    return await _middle(index, series[0]) if series else None


async def of_every_series(index: ResourceSearch, study_id: str) -> list[Location]:
    """Return the middle instances of the series of a study, whose Orthanc identifier is given."""
    series = await image_series(index, study_id)
    found = [await _middle(index, each) for each in series]
    return [location for location in found if location is not None]


async def image_series(index: ResourceSearch, study: MatchingKey | str) -> list[Match]:
    """Return the series of a study, the first 500: those with images first, and of these the largest."""
    search = (
        Search(Level.SERIES, parents=(study,), limit=_SERIES)
        if isinstance(study, str)
        else Search(Level.SERIES, (study,), limit=_SERIES)
    )
    page = await index.search(search)
    return sorted(page.matches, key=_rank)


def _rank(match: Match) -> tuple[bool, int]:
    assert match.series is not None
    return match.series.attributes.get("Modality", "") in _NO_IMAGES, -match.series.instances


async def _middle(index: ResourceSearch, match: Match) -> Location | None:
    assert match.series is not None
    middle = (match.series.instances - 1) // 2
    search = Search(
        Level.IMAGE, parents=(match.public_id,), order=(Order("InstanceNumber"),), offset=max(0, middle), limit=1
    )
    page = await index.search(search)
    instance = page.matches[0].instance if page.matches else None
    return instance.location if instance else None
