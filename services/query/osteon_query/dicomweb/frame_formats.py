"""Content negotiation of frames: media type, one part or alone, transfer syntax (PS3.18 8.7.3, 8.7.5)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from osteon_query.http.accept import ANY, MULTIPART, OCTETS, MediaRange
from osteon_query.http.errors import NotAcceptable
from osteon_query.http.media_types import SYNTAXES_OF, is_native, is_video, media_type_of
from osteon_query.packs.instance_reader import can_transcode


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """How frames come. Those of every native transfer syntax come as Explicit VR Little Endian has them."""

    media_type: str
    transfer_syntax_uid: str
    multipart: bool

    @property
    def kind(self) -> str:
        """Content-Type of a frame, with its transfer syntax."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax_uid}"

    def as_stored(self, stored: str) -> bool:
        """Whether frames of an instance can be cut out of its pack as they are."""
        if is_native(self.transfer_syntax_uid):
            return stored in TRANSFER_SYNTAXES and TRANSFER_SYNTAXES[stored].plain_pixels
        return self.transfer_syntax_uid == stored


def frame_format(ranges: Sequence[MediaRange], stored: str, *, single: bool) -> FrameFormat:
    """Choose how to send frames that are stored in a transfer syntax; raises `NotAcceptable`.

    Of what the client likes alike, that is taken which is stored. A frame alone is possible when it is the only one
    requested (`single`).
    """
    for _, alike in groupby(ranges, key=lambda entry: entry.quality):
        offers = [offer for entry in alike for offer in _offers(entry, stored) if single or offer.multipart]
        possible = [
            offer for offer in offers if offer.as_stored(stored) or can_transcode(stored, offer.transfer_syntax_uid)
        ]
        if possible:
            return next((offer for offer in possible if offer.as_stored(stored)), possible[0])
    alone = "" if single else f", several only in {MULTIPART}"
    raise NotAcceptable(
        f"frames stored in transfer syntax {stored} ({media_type_of(stored)}) are sent so with transfer-syntax=*, as "
        f"{OCTETS} without compression, or as an image type that can be encoded{alone}; Accept has none of these"
    )


def _offers(entry: MediaRange, stored: str) -> Iterator[FrameFormat]:
    """Yield what an entry may mean. Without a transfer syntax it means the stored one, else that type's default."""
    multipart = entry.multipart or entry.type == "*/*"
    own, named = media_type_of(stored), entry.transfer_syntax
    if entry.accepts(OCTETS):
        default = stored if is_video(stored) and entry.root == "*/*" else EXPLICIT_VR_LITTLE_ENDIAN
        uid = stored if named == ANY else named or default
        uid = EXPLICIT_VR_LITTLE_ENDIAN if is_native(uid) else uid
        media_type = own if entry.root == "*/*" and uid == stored else OCTETS
        yield FrameFormat(media_type, uid, multipart)
    for media_type, uids in SYNTAXES_OF.items():
        if not entry.accepts(media_type) or entry.root == "*/*":
            continue
        if named not in ("", ANY):
            if named in uids:
                yield FrameFormat(media_type, named, multipart)
        elif own == media_type:
            yield FrameFormat(media_type, stored, multipart)
        elif not entry.root.endswith("*"):
            yield FrameFormat(media_type, uids[0], multipart)
