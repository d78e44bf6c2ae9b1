import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.dimse.pdu import PduType, ProtocolError
from osteon.dimse.stream import BodyHandling, PduStream
from support.dimse.raw_peer import data_tf, pdu, pdv


class Receiver:
    def __init__(self) -> None:
        self.parts: list[tuple[int, int, bytes]] = []
        self.bodies: list[tuple[PduType, bytes]] = []
        self._value = b""

    def begin_pdu(self, kind: PduType, length: int) -> BodyHandling:
        if kind is PduType.P_DATA_TF:
            return BodyHandling.STREAM
        return BodyHandling.SKIP if kind is PduType.UNRECOGNIZED else BodyHandling.COLLECT

    def end_pdu(self, kind: PduType, body: bytes) -> None:
        self.bodies.append((kind, body))

    def fragment(self, context_id: int, control: int, data: memoryview, end: bool) -> None:
        self._value += bytes(data)
        if end:
            self.parts.append((context_id, control, self._value))
            self._value = b""


STREAM = (
    pdu(1, b"request")
    + data_tf(pdv(1, 3, b"command"), pdv(1, 0, b""), pdv(3, 2, b"d" * 300))
    + pdu(9, b"unknown to all")
    + pdu(7, b"", 0)
    + data_tf(pdv(5, 2, b"last"))
    + pdu(5)
)


@given(st.lists(st.integers(1, 60)))
def test_however_the_bytes_are_cut_the_same_pdus_come_out(cuts: list[int]) -> None:
    receiver = Receiver()
    stream = PduStream(receiver)
    at = 0
    for size in [*cuts, len(STREAM)]:
        piece = memoryview(STREAM[at : at + size])
        assert stream.feed(piece) == len(piece)
        at += size
    assert receiver.bodies == [(1, b"request"), (7, b""), (5, bytes(4))]
    assert receiver.parts == [(1, 3, b"command"), (1, 0, b""), (3, 2, b"d" * 300), (5, 2, b"last")]
    assert stream.between


def test_halting_stops_between_two_fragments_and_tells_how_far_it_came() -> None:
    receiver = Receiver()
    stream = PduStream(receiver)
    receiver.end_pdu = lambda kind, body: setattr(stream, "halted", True)  # type: ignore[method-assign]
    first = len(pdu(1, b"request"))
    assert stream.feed(memoryview(STREAM)) == first
    stream.halted = False
    del receiver.end_pdu
    stream.feed(memoryview(STREAM[first:]))
    assert len(receiver.parts) == 4


def test_fragments_of_an_endless_pdu_pass_without_being_kept() -> None:
    receiver = Receiver()
    sizes: list[int] = []
    receiver.fragment = lambda c, h, data, end: sizes.append(len(data))  # type: ignore[method-assign]
    stream = PduStream(receiver)
    stream.feed(memoryview(pdu(4, b"", 2**32 - 1) + (2**32 - 5).to_bytes(4, "big") + b"\1\0"))
    for _ in range(1000):
        stream.feed(memoryview(bytes(65536)))
    assert sizes == [65536] * 1000
    assert stream.buffered == 0


@pytest.mark.parametrize(
    "data",
    [
        pdu(4, b""),
        pdu(4, b"\0\0\0\2\1"),
        pdu(4, b"\0\0\0\1\1\3"),
        pdu(4, b"\0\0\0\0\1\3"),
        pdu(4, b"\0\0\0\x09\1\3abcdef"),
        pdu(4, pdv(1, 3, b"ab") + b"\0\0\0"),
        pdu(4, b"\xff\xff\xff\xff\1\3abcdef"),
    ],
    ids=["no value", "half a header", "length 1", "length 0", "too long", "rest too short", "length 2^32-1"],
)
def test_a_presentation_data_value_that_does_not_fit_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        PduStream(Receiver()).feed(memoryview(data))
