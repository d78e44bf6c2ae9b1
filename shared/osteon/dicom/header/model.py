"""What the header reader gives: see `Header`. The reader itself is in the modules beside this one."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PixelData:
    """Where the pixel data of a data set lies. Offsets and lengths in bytes, from the data set's first byte.

    Attributes:
        tag: `7FE00010`, or `7FE00008`/`7FE00009` for float and double float pixel data.
        offset: of the element's value.
        length: of the value; with encapsulation up to and without the sequence delimiter.
        encapsulated: fragments as of PS3.5 A.4.
        frames: for encapsulated data, (offset, length) of the run of fragment items of each frame, item headers
            included; a single run for video. Empty for native data, where frames follow from Rows, Columns, Bits
            Allocated, ..., and when fragments cannot be assigned to frames, which is a problem.
        problem: of encapsulated data: why frames are missing or cut off; empty when they are all there.
    """

    tag: str
    offset: int
    length: int
    encapsulated: bool
    frames: tuple[tuple[int, int], ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class HeaderProblem:
    """An element that was kept but marked. `path` is its tag, `00400275[0].00400009` when nested."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one data set, ready for its sidecar line.

    Attributes:
        json: the data set in the DICOM JSON Model (PS3.18 F.2), one object, UTF-8. Bulk data is left out: such an
            element has a `BulkDataURI` of the form `bulk/<path>`, where path is the key into `bulk`. A number, or
            character set, whose text in the file its value does not show has that text as `Text`.
        pixel_data: None when the data set has no pixel data, and for a deflated data set.
        bulk: path → (offset, length) of values that were left out, pixel data included; empty for a deflated data set,
            whose bytes cannot be addressed.
        problems: elements that were kept but marked.
        unread: why the rest of the data set could not be read; empty when all of it was.
    """

    json: bytes
    pixel_data: PixelData | None = None
    bulk: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: tuple[HeaderProblem, ...] = ()
    unread: str = ""
