"""Samples as NumPy files (NEP 1), put together and written as text without numpy: `imaging` makes one an instance."""

import ast
import sys
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from osteon.archive.resources import Location
from osteon.contracts.imaging import RenderRequest
from osteon.objects.port import Bytes
from osteon_query.http.errors import NotRenderable
from osteon_query.images.render_client import RenderClient, RenderedPicture, render_in_order, require_picture

_Wanted = tuple[RenderRequest, Location]
_MAGIC: Final = b"\x93NUMPY\x01\x00"
_ALIGNMENT: Final = 64
_ARRAY_CODES: Final = {
    "u1": "B",
    "i1": "b",
    "u2": "H",
    "i2": "h",
    "u4": "I",
    "i4": "i",
    "u8": "Q",
    "i8": "q",
    "f4": "f",
    "f8": "d",
}


@dataclass(frozen=True, slots=True)
class NpyLayout:
    """What the head of a `.npy` file says: the type of its samples, and (frames, rows, columns, samples)."""

    type: str
    shape: tuple[int, ...]

    @classmethod
    def read(cls, start: bytes) -> tuple["NpyLayout", int]:
        """Return the layout of a file and the length of its head; raises `NotRenderable` when it is invalid."""
        length = len(_MAGIC) + 2 + int.from_bytes(start[8:10], "little")
        try:
            facts = ast.literal_eval(start[10:length].decode("latin-1").strip())
            return cls(str(facts["descr"]), tuple(map(int, facts["shape"]))), length
        except (SyntaxError, ValueError, KeyError, TypeError):
            raise NotRenderable("the samples are not in a NumPy file of version 1") from None

    @property
    def head(self) -> bytes:
        """The head of a file with this layout."""
        text = f"{{'descr': '{self.type}', 'fortran_order': False, 'shape': {self.shape}, }}"
        padding = -(len(_MAGIC) + 3 + len(text)) % _ALIGNMENT
        body = f"{text}{' ' * padding}\n".encode()
        return _MAGIC + len(body).to_bytes(2, "little") + body


async def stack(pictures: RenderClient, messages: Sequence[_Wanted]) -> AsyncGenerator[Bytes, None]:
    """Yield one file with the frames of several; raises `NotRenderable` when they have not the same size and type."""
    layouts = [layout async for layout in _layouts(pictures, messages)]
    first = layouts[0]
    for layout in layouts:
        if (layout.type, layout.shape[1:]) != (first.type, first.shape[1:]):
            raise NotRenderable(
                f"instances of {first.shape[1:]} {first.type} and {layout.shape[1:]} {layout.type} differ"
            )
    yield replace(first, shape=(sum(layout.shape[0] for layout in layouts), *first.shape[1:])).head
    async with aclosing(render_in_order(pictures, _iterate(messages))) as found:
        async for picture in found:
            async for chunk in _body(require_picture(picture)):
                yield chunk


async def _layouts(pictures: RenderClient, messages: Sequence[_Wanted]) -> AsyncIterator[NpyLayout]:
    async with aclosing(render_in_order(pictures, _iterate(messages))) as found:
        async for picture in found:
            async with aclosing(require_picture(picture).chunks) as chunks:
                yield NpyLayout.read(bytes(await anext(chunks)))[0]


async def _body(picture: RenderedPicture) -> AsyncIterator[Bytes]:
    skip = -1
    async with aclosing(picture.chunks) as chunks:
        async for chunk in chunks:
            if skip < 0:
                skip = NpyLayout.read(bytes(chunk[: _ALIGNMENT * 16]))[1]
                yield chunk[skip:]
            else:
                yield chunk


async def _iterate(messages: Sequence[_Wanted]) -> AsyncIterator[_Wanted]:
    for message in messages:
        yield message


def matlab(file: bytes) -> Iterator[bytes]:
    """Yield the first frame of a `.npy` file as a MATLAB matrix, a row at a time."""
    layout, start = NpyLayout.read(file)
    rows, columns, samples = layout.shape[-3:]
    values = array(_ARRAY_CODES[layout.type[1:]])
    values.frombytes(file[start : start + rows * columns * samples * values.itemsize])
    if sys.byteorder == "big":
        values.byteswap()
    separator = b"; " if samples == 1 else b""
    yield b"double([ " if samples == 1 else b"double(permute(reshape([ "
    for row in range(rows):
        line = values[row * columns * samples : (row + 1) * columns * samples]
        yield (separator if row else b"") + " ".join(map(_text, line)).encode() + b" "
    yield b"])" if samples == 1 else f"], [ {samples} {columns} {rows} ]), [ 3 2 1 ]))".encode()


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
