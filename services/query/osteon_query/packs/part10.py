"""Looking into uploaded files (PS3.10), which become Part 10 files. What opens files blocks: call it in threads."""

import mmap
from pathlib import Path

from osteon.dicom.bare_files import missing_beginning
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.identity import Identity
from osteon.dicom.part10 import read_part10
from osteon.dicom.peek import peek_identity
from osteon.errors import Invalid
from osteon_query.http.errors import BadBody
from osteon_query.packs.body_files import ReceivedFile
from osteon_query.packs.frames import pixel_problem


def examine(file: ReceivedFile, reader: HeaderReader) -> tuple[Identity, int, str]:
    """Return a file's identity, its length in bytes, and what is wrong with its header or pixel data (empty: nothing).

    What is missing before its data set is added; then it is on the disk. Raises `Invalid` when the instance cannot be
    identified.
    """
    content = _map(file.path) if file.data is None else file.data
    with memoryview(content) as view:
        beginning = missing_beginning(view, reader)
    if beginning:
        file.prepend(beginning)
        content = _map(file.path) if file.data is None else file.data
    with memoryview(content) as view:
        meta = read_part10(view)
        with view[meta.data_set_offset :] as dataset:
            identity = peek_identity(dataset, meta.transfer_syntax_uid, complete=True)
            assert identity is not None
            try:
                problem = pixel_problem(reader.read(dataset, meta.transfer_syntax_uid))
            except Invalid as error:
                problem = str(error)
    size = len(content)
    file.save()
    return identity, size, problem


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise BadBody("the file is empty")
        # Not closed explicitly: an error's traceback may still hold views of it, which would make closing fail.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
