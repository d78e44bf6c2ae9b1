"""Where the fragments of a video lie, so that byte ranges of the stream can be read (PS3.5 A.4)."""

from typing import Final

from osteon.byte_caches import ByteCache
from osteon.errors import Invalid
from osteon.objects.port import ObjectNotFound, Objects
from osteon_query.http.errors import NotAcceptable, StoredDataUnreadable
from osteon_query.packs.frames import HEAD, FrameAt, fragment_length

_MAX_FRAGMENTS: Final = 10_000
"""Fragments of a video: each costs a small read, once."""
_KNOWN_BYTES: Final = 8 << 20
"""Of memory for the fragments that are remembered: players read a video by many ranges."""
_FRAGMENT_BYTES: Final = 136
"""Of memory for an offset and a length."""


class FragmentLocator:
    """Finds the fragments of videos by their item heads."""

    def __init__(self) -> None:
        self._known: ByteCache[tuple[str, int], list[tuple[int, int]]] = ByteCache(
            "video_fragments", _KNOWN_BYTES, lambda key, ranges: len(key[0]) + len(ranges) * _FRAGMENT_BYTES
        )

    async def locate(self, objects: Objects, frame: FrameAt) -> list[tuple[int, int]]:
        """Return (offset, length) in the object of each fragment of a frame.

        Raises `StoredDataUnreadable`, and `NotAcceptable` for a video in more fragments than are followed.
        """
        if (known := self._known.get((frame.key, frame.offset))) is not None:
            return known
        ranges: list[tuple[int, int]] = []
        position, stop = frame.offset, frame.offset + frame.length
        while position < stop:
            if len(ranges) == _MAX_FRAGMENTS:
                raise NotAcceptable(
                    f"the video is in more than {_MAX_FRAGMENTS} fragments: frames/1 sends it, without byte ranges"
                )
            try:
                head = await objects.get_range(frame.key, position, HEAD)
            except (ObjectNotFound, Invalid) as error:
                raise StoredDataUnreadable(f"the index names {frame.key}, the object store says: {error}") from None
            length = min(fragment_length(head), stop - position - HEAD)
            ranges.append((position + HEAD, length))
            position += HEAD + length
        self._known[frame.key, frame.offset] = ranges
        return ranges
