"""DICOM files to send: found in folders, and of each only the beginning is read (PS3.10 7, PS3.5 7)."""

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from osteon.dicom.bare_files import bare_syntax, read_meta
from osteon.dicom.errors import BadPart10
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.identity import Identity
from osteon.dicom.part10 import PREFIX_END, FileMeta, has_prefix
from osteon.dicom.peek import peek_identity
from osteon.errors import Invalid, OsteonError

_BEGINNINGS: Final = (16 << 10, 1 << 20)
"""Bytes that are read of a file: the second when the first are not enough."""
_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_BEGINNING: Final = (b"DICM", b"\x02\0", b"\x08\0", b"\0\x08")
"""Of files without preamble, of those without prefix, and of bare data sets."""


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A file with an instance. `offset` is where its data set begins, `size` the file's; bytes."""

    path: Path
    size: int
    offset: int
    sop_class: str
    sop_instance: str
    syntax: str


@dataclass(frozen=True, slots=True)
class UnusableFile:
    """A file or folder that cannot be sent.

    `failed`: it was named itself, cannot be opened, or says that it is DICOM; other files are usual in folders.
    """

    path: Path
    reason: str
    failed: bool


class NotAnInstance(Invalid):
    """A file is something else than an instance."""


def find_files(paths: Sequence[Path]) -> Iterator[DicomFile | UnusableFile]:
    """Look at files, and at all that are in folders, in the order of their names. Blocks."""
    closed: list[OSError] = []
    for path in paths:
        for file in files_in(path, closed.append):
            try:
                yield read_file(file)
            except OSError as error:
                yield UnusableFile(file, error.strerror or str(error), failed=True)
            except NotAnInstance as error:
                yield UnusableFile(file, str(error), failed=file == path)
            except OsteonError as error:
                with file.open("rb", buffering=0) as opened:
                    failed = file == path or has_prefix(opened.read(PREFIX_END))
                yield UnusableFile(file, str(error), failed=failed)
    for problem in closed:
        yield UnusableFile(Path(problem.filename), problem.strerror or str(problem), failed=True)


def files_in(path: Path, closed: Callable[[OSError], object]) -> Iterator[Path]:
    """Yield the files below a folder, each folder once, whatever links lead to it; or the path when it is not a folder.

    `closed` is called for folders that cannot be looked into.
    """
    if not path.is_dir():
        yield path
        return
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(path, onerror=closed, followlinks=True):
        here = Path(folder).stat()
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders.sort()
        for name in sorted(names):
            yield Path(folder, name)


def measure(paths: Sequence[Path]) -> tuple[int, int]:
    """Return number and bytes of all files, for a progress bar. Blocks."""
    count = size = 0
    for path in paths:
        for file in files_in(path, lambda _: None):
            try:
                size += file.stat().st_size
            except OSError:
                continue  # the reader of it reports that
            count += 1
    return count, size


def read_file(path: Path) -> DicomFile:
    """Read the beginning of a file, with or without preamble and file meta information.

    Raises `NotAnInstance` when it is something else, `Invalid` when the instance cannot be read, and `OSError`.
    """
    if not path.is_file():
        raise NotAnInstance("no such file" if not path.exists() else "no regular file")
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        data = b""
        for wanted in _BEGINNINGS:
            data += file.read(wanted - len(data))
            if (found := _read(path, data, size)) is not None:
                if not found.offset:  # the whole shows whether its transfer syntax can be told
                    bare_syntax(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), HeaderReader(memo_limit=0))
                return found
    raise Invalid(f"no identifiers in the first {_BEGINNINGS[-1]} bytes")


def _read(path: Path, data: bytes, size: int) -> DicomFile | None:
    """Return None when more is needed."""
    complete = len(data) >= min(size, _BEGINNINGS[-1])
    try:
        meta = _meta(data)
    except BadPart10:
        if complete:
            raise
        return None
    if meta.sop_class_uid == _DIRECTORY:
        raise NotAnInstance("a DICOMDIR, not an instance")
    identity = _identity(data[meta.data_set_offset :], meta, complete=complete)
    if identity is None and not complete:
        return None
    # The data set is what the peer will look at; some files' meta information is of another instance.
    sop_class = identity.sop_class_uid if identity else meta.sop_class_uid
    sop_instance = identity.sop_uid if identity else meta.sop_instance_uid
    if not sop_class or not sop_instance:
        raise Invalid("no SOP Class UID (0008,0016) or SOP Instance UID (0008,0018)")
    return DicomFile(path, size, meta.data_set_offset, sop_class, sop_instance, meta.transfer_syntax_uid)


def _meta(data: bytes) -> FileMeta:
    if not has_prefix(data) and not data.startswith(_BEGINNING):
        raise NotAnInstance("not a DICOM file")
    return read_meta(data)


def _identity(data: bytes, meta: FileMeta, *, complete: bool) -> Identity | None:
    try:
        return peek_identity(data, meta.transfer_syntax_uid, complete=complete)
    except OsteonError:
        if meta.sop_class_uid and meta.sop_instance_uid:
            return None
        raise
