"""Splits the byte stream of a connection into PDUs, and P-DATA-TF into fragments (PS3.8 9.3), in constant memory."""

from enum import Enum
from typing import Protocol

from osteon.dimse.pdu import PDU_HEADER, PDV_HEADER, PduType, ProtocolError

_HEADER_SIZE = 6
SLICE_STEPS = 256
"""Headers and fragments that one call of `feed` takes at most; a read of honest size is below."""
_NOTHING = memoryview(b"")


class BodyHandling(Enum):
    """What is to happen to the body of a PDU."""

    COLLECT = 1
    STREAM = 2
    SKIP = 3


class PduReceiver(Protocol):
    """Takes what is in the stream. A `ProtocolError` that it raises comes out of `PduStream.feed`."""

    def begin_pdu(self, kind: PduType, length: int) -> BodyHandling:
        """A header has come; `length` is the peer's claim."""

    def end_pdu(self, kind: PduType, body: bytes) -> None:
        """All of a collected PDU has come; `body` is what follows the header."""

    def fragment(self, context_id: int, control: int, data: memoryview, end: bool) -> None:
        """A part of a presentation data value; `end` with its last part. `data` is valid during the call only."""


class PduStream:
    """Incremental splitter: takes bytes as they come, one at a time if need be, and keeps headers only.

    Set `halted` in a callback to make `feed` return after it. What costs more than a fragment is charged to
    `steps_left`: at 0 `feed` returns, to be called again with the rest in a later round of the event loop.
    """

    __slots__ = (
        "_body",
        "_context_id",
        "_control",
        "_discarding",
        "_handling",
        "_kind",
        "_partial",
        "_pdu",
        "_pdv",
        "_receiver",
        "halted",
        "pdu_type",
        "pdus",
        "steps_left",
    )

    def __init__(self, receiver: PduReceiver) -> None:
        self._receiver = receiver
        self._kind = PduType.UNRECOGNIZED
        self._handling = BodyHandling.SKIP
        self._pdu = 0
        self._pdv = 0
        self._context_id = 0
        self._control = 0
        self._partial = bytearray()
        self._body = bytearray()
        self._discarding = False
        self.halted = False
        self.steps_left = SLICE_STEPS
        self.pdus = 0
        """How many have begun."""
        self.pdu_type = 0
        """First byte of the last PDU that began."""

    @property
    def between(self) -> bool:
        """No PDU has begun that is not complete."""
        return not (self._pdu or self._partial)

    @property
    def buffered(self) -> int:
        """Bytes that are kept: of a header, or of a PDU that is collected."""
        return len(self._partial) + len(self._body)

    def feed(self, data: memoryview) -> int:
        """Consume `data`; return how many bytes: fewer than all when halted, or when a slice is done.

        Raises `ProtocolError`.
        """
        at, end = (len(data) if self._discarding else 0), len(data)
        self.steps_left = SLICE_STEPS
        while at < end and not self.halted and self.steps_left > 0:
            self.steps_left -= 1
            if self._pdv:
                at += self._take_fragment(data[at : at + self._pdv])
            elif self._pdu and self._handling is not BodyHandling.STREAM:
                at += self._take_body(data[at : at + self._pdu])
            elif not self._partial and end - at >= _HEADER_SIZE:
                self._take_header(data[at : at + _HEADER_SIZE])
                at += _HEADER_SIZE
            else:
                at += self._take_partial(data[at : at + _HEADER_SIZE - len(self._partial)])
        return at

    def skip_everything(self) -> None:
        """Drop what has begun, and the rest of the current PDU."""
        self._pdv = 0
        self._handling = BodyHandling.SKIP
        self._partial.clear()
        self._body = bytearray()
        self.halted = False

    def discard_all(self) -> None:
        """Discard everything from now on: the peer's framing cannot be trusted."""
        self.skip_everything()
        self._discarding = True

    def _take_partial(self, data: memoryview) -> int:
        self._partial += data
        if len(self._partial) == _HEADER_SIZE:
            header = memoryview(bytes(self._partial))
            self._partial.clear()
            self._take_header(header)
        return len(data)

    def _take_header(self, header: memoryview) -> None:
        if self._pdu:
            self._begin_pdv(*PDV_HEADER.unpack(header))
        else:
            self._begin_pdu(*PDU_HEADER.unpack(header))

    def _begin_pdu(self, kind: int, length: int) -> None:
        self.pdu_type = kind
        self._kind = PduType(kind) if PduType.ASSOCIATE_RQ <= kind <= PduType.ABORT else PduType.UNRECOGNIZED
        self._pdu = length
        self.pdus += 1
        self._handling = BodyHandling.SKIP
        self._handling = self._receiver.begin_pdu(self._kind, length)
        if self._handling is BodyHandling.STREAM and length < _HEADER_SIZE:
            raise ProtocolError(f"P-DATA-TF of {length} bytes holds no presentation data value")
        if self._handling is BodyHandling.COLLECT and not length:
            self._receiver.end_pdu(self._kind, b"")

    def _begin_pdv(self, length: int, context_id: int, control: int) -> None:
        self._pdu -= _HEADER_SIZE
        rest = self._pdu - (length - 2)
        if length < 2 or rest < 0 or 0 < rest < _HEADER_SIZE:
            raise ProtocolError(f"presentation data value of {length} bytes does not fit its P-DATA-TF")
        self._pdv = length - 2
        self._context_id = context_id
        self._control = control
        if not self._pdv:
            self._receiver.fragment(context_id, control, _NOTHING, True)

    def _take_fragment(self, data: memoryview) -> int:
        size = len(data)
        self._pdu -= size
        self._pdv -= size
        self._receiver.fragment(self._context_id, self._control, data, not self._pdv)
        return size

    def _take_body(self, data: memoryview) -> int:
        self._pdu -= len(data)
        if self._handling is BodyHandling.COLLECT:
            self._body += data
            if not self._pdu:
                body, self._body = bytes(self._body), bytearray()
                self._receiver.end_pdu(self._kind, body)
        return len(data)
