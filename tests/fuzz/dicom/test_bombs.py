"""Data sets made to cost much: memory stays bounded, and work grows no faster than the bytes that were sent."""

import zlib
from collections.abc import Callable
from functools import partial

import pytest

from osteon.dicom.deflate import inflate_beginning
from osteon.dicom.errors import BadDataSet
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.peek import peek_identity
from support.dicom.elements import (
    DEFLATED,
    EXPLICIT,
    ITEM_END,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    identified,
    item,
    sequence,
)
from support.fuzz.data_sets import calls, peak

MB = 1 << 20
LIMIT = MB // 4
"""Of a header, in these tests; its own is 64 MiB."""


def deep(levels: int, *, undefined: bool) -> bytes:
    if undefined:
        head = explicit(0x00081140, "SQ", length=UNDEFINED) + item(length=UNDEFINED)
        return head * levels + (ITEM_END + SEQUENCE_END) * levels
    data = b""
    for _ in range(levels):
        data = sequence(0x00081140, item(data))
    return data


def fragments(count: int, fragment: bytes = b"\xff\xd8") -> bytes:
    return explicit(0x7FE00010, "OB", item() + item(fragment) * count + SEQUENCE_END, length=UNDEFINED)


def offset_table(entries: int) -> bytes:
    return explicit(0x7FE00001, "OV", bytes(8 * entries))


def numbered(count: int, vr: str, value: bytes) -> bytes:
    return b"".join(explicit(0x00110000 + 0x20000 * (n >> 15) + 0x1000 + (n & 0x7FFF), vr, value) for n in range(count))


def charset(number: int) -> bytes:
    return explicit(0x00080005, "CS", b"%08d" % number)


BOMBS: dict[str, Callable[[int], bytes]] = {
    "empty items": lambda n: sequence(0x00081140, item() * n),
    "empty items of undefined length": lambda n: sequence(0x00081140, item(undefined=True) * n, undefined=True),
    "nested sequences": lambda n: deep(n // 30, undefined=False),
    "nested sequences of undefined length": lambda n: deep(n, undefined=True),
    "shallow chains": lambda n: sequence(0x00081140, item(deep(90, undefined=False)) * (n // 90)),
    "empty elements": lambda n: numbered(n, "LO", b""),
    "names": lambda n: numbered(n // 200, "PN", b"a\\" * 200),
    "one long name": lambda n: explicit(0x00100010, "PN", b"a\\" * min(n, 30_000)),
    "nulls": lambda n: numbered(n // 1000, "CS", b"\\" * 1000),
    "duplicates": lambda n: explicit(0x00100030, "DA", b"20240101") * n,
    "elements backwards": lambda n: b"".join(explicit(0x10000000 - 2 * i, "LO", b"x ") for i in range(n)),
    "escapes": lambda n: numbered(n // 100, "LO", b"\x1b$B;3\x1b(B" * 40),
    "torn escapes": lambda n: numbered(n // 100, "PN", b"\x1b$^\x1b=" * 60),
    "digits": lambda n: explicit(0x00281054, "LO", b"1" * 40_000) + numbered(n // 100, "IS", b"9" * 4000),
    "private creators": lambda n: b"".join(explicit(0x00090010 + n % 200, "LO", b"%06d" % i) for i in range(n)),
    "fragments": fragments,
    "pixel data again and again": lambda n: offset_table(n) + fragments(1) * n,
    "bulk values": lambda n: numbered(n // 40, "OB", bytes(5000)),
    "character sets": lambda n: sequence(0x00081140, *(item(charset(i)) for i in range(n))),
    "signed or not": lambda n: sequence(0x00081140, item(explicit(0x00280106, "UN", b"\1\0")) * n),
    "delimiters": lambda n: item() * n,
    "stray ends": lambda n: SEQUENCE_END * n,
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_work_grows_with_the_bytes_and_no_faster(bomb: Callable[[int], bytes]) -> None:
    def work(n: int) -> int:
        data = bomb(n)
        return calls(lambda: HeaderReader().read_beginning(identified() + data, JPEG))

    small, large = work(3000), work(12_000)
    assert large <= 4.6 * small + 2000


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_memory_is_a_small_multiple_of_the_limit(bomb: Callable[[int], bytes]) -> None:
    data = identified() + bomb(12_000)
    reader = HeaderReader(header_limit=LIMIT, memo_limit=LIMIT)
    assert peak(lambda: reader.read_beginning(data, JPEG)) < 16 * LIMIT + 4 * MB


@pytest.mark.parametrize("vr", ["OB", "UN", "SQ", "UT", "OW"])
@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFE])
def test_four_gigabytes_are_promised_and_nothing_is_taken(vr: str, length: int) -> None:
    data = identified() + explicit(0x00420011, vr, b"ab", length=length)
    assert peak(lambda: HeaderReader().read_beginning(data, EXPLICIT)) < MB
    assert "longer" in HeaderReader().read_beginning(data, EXPLICIT).unread


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def test_a_deflate_bomb_is_inflated_to_the_limit_only() -> None:
    bomb = deflated(identified() + explicit(0x00420011, "OB", bytes(100 * MB)))
    reader = HeaderReader(header_limit=4 * MB)
    assert peak(lambda: reader.read_beginning(bomb, DEFLATED)) < 16 * MB
    assert peak(lambda: peek_identity(bomb, DEFLATED, complete=True)) < 4 * MB


def test_a_long_deflated_stream_is_not_copied_to_be_looked_into() -> None:
    stream = zlib.compressobj(0, zlib.DEFLATED, -zlib.MAX_WBITS).compress(identified() + bytes(50 * MB))
    view = memoryview(bytes(stream))
    assert peak(lambda: peek_identity(view, DEFLATED, complete=True)) < 4 * MB
    assert peak(lambda: inflate_beginning(view, 2 * MB)) < 8 * MB


@pytest.mark.parametrize(
    "before",
    [
        explicit(0x00080001, "LO", b"") * 70_000,
        sequence(0x00081140, item(undefined=True) * 20_000, undefined=True),
        sequence(0x00081140, item(explicit(0x00420011, "OB", bytes(MB))), undefined=True) * 2,
    ],
    ids=["elements", "items", "bytes"],
)
def test_identifiers_behind_absurdly_much_are_not_looked_for(before: bytes) -> None:
    peek = partial(peek_identity, complete=True, max_skipped_elements=20_000, max_skipped_bytes=MB)
    assert peek(before[:0] + identified(), EXPLICIT) is not None
    with pytest.raises(BadDataSet):
        peek(before + identified(), EXPLICIT)
