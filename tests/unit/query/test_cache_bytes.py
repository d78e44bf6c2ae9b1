"""What `query` and `imaging` remember stays within its bytes."""

from typing import Any

from osteon.byte_caches import cache_sizes
from osteon.contracts.find import FindCancelled
from osteon.contracts.packs import SidecarPlace
from osteon.dicom.pixels.geometry import Geometry
from osteon_imaging.poison import PoisonCache
from osteon_imaging.render_cache import _used_pictures
from osteon_query.packs.fragments import FragmentLocator
from osteon_query.packs.frames import FrameAt, FrameLocator
from osteon_query.packs.sidecars import Sidecars
from osteon_query.search.find_requests import FindRequests


class ManyFragments:
    """An object whose every range is the head of a fragment of two bytes."""

    async def get_range(self, *_: object) -> bytes:
        return b"\xfe\xff\x00\xe0\x02\x00\x00\x00"


async def test_fragments_of_videos_stay_within_their_bytes() -> None:
    locator, objects = FragmentLocator(), ManyFragments()
    before = cache_sizes()["video_fragments"]
    for number in range(20):
        assert len(await locator.locate(objects, FrameAt(f"video-{number}", 0, 50_000))) == 5000  # type: ignore[arg-type]
    assert 20 * 5000 * 136 > 8 << 20
    assert 4 << 20 < cache_sizes()["video_fragments"] - before <= 8 << 20


def test_layouts_of_frames_stay_within_their_bytes() -> None:
    locator = FrameLocator()
    for number in range(10_000):
        locator._layouts[number.to_bytes(32, "big")] = Geometry(rows=1, columns=1, bits_allocated=8, bits_stored=8)
    assert 1 << 20 < locator._layouts.size <= 2 << 20
    locator._layouts[bytes(32)] = Geometry(
        rows=1, columns=1, bits_allocated=8, bits_stored=8, photometric="X" * (1 << 20)
    )
    assert bytes(32) not in locator._layouts


def test_used_pictures_stay_within_their_bytes() -> None:
    used = _used_pictures()
    for number in range(50_000):
        used[f"rendered/{number:064}"] = None
    assert 4 << 20 < used.size <= 8 << 20
    assert f"rendered/{49_999:064}" in used


def test_keys_of_large_sidecars_stay_within_their_bytes() -> None:
    objects: Any = None
    sidecars = Sidecars(objects, memory=1 << 20)
    for number in range(5000):
        sidecars._too_large[SidecarPlace(f"sidecar-{number}")] = True
    assert 256 << 10 < sidecars._too_large.size <= 512 << 10


def test_poisoned_requests_stay_within_their_number() -> None:
    poison, outcome = PoisonCache(600), object()
    before = cache_sizes()["poisoned_requests"]
    for number in range(5000):
        poison.add(number, number, outcome)  # type: ignore[arg-type]
    assert cache_sizes()["poisoned_requests"] - before == 2 * 2000 * 3000


async def test_cancelled_searches_stay_within_their_number() -> None:
    requests = FindRequests(None)  # type: ignore[arg-type]  # nothing is searched
    before = cache_sizes()["cancelled_searches"]
    for number in range(3000):
        await requests.cancel(FindCancelled(correlation_id="", request_id=str(number)))
    assert cache_sizes()["cancelled_searches"] - before == 1000 * 600
