"""Writes what a C-GET brings: Part 10 files `<study>/<series>/<instance>.dcm`, whole or not at all (PS3.10 7)."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from io import BufferedWriter
from pathlib import Path
from threading import Lock
from typing import Final

from osteon.dicom.part10 import write_part10_header
from osteon.dicom.peek import peek_identity
from osteon.dicom.uids import is_uid
from osteon.dimse.handler import Outcome, PresentationContext, StoreRequest
from osteon.dimse.status import Status
from osteon.errors import OsteonError

_PART: Final = 1 << 20
"""Bytes that are kept in memory of an instance."""
_UNNAMED: Final = Path("unknown-study", "unknown-series")
_DONE: Final = Outcome(Status.SUCCESS)

ReceiveCallback = Callable[[str, int, Outcome], None]
"""Called with the SOP Instance UID, bytes of the data set and outcome of each instance."""


class InstanceFolder:
    """Makes sinks.

    Args:
        path: of the folder, made when needed.
        source_aet: AE title that the files name as their source.
        on_instance: hears of each instance.
    """

    def __init__(self, path: Path, source_aet: str, on_instance: ReceiveCallback) -> None:
        self._path, self._aet, self._on_instance = path, source_aet, on_instance

    def __call__(self, request: StoreRequest, context: PresentationContext) -> "FileSink | Outcome":
        """Begin a file."""
        if not is_uid(request.sop_instance_uid):
            return Outcome(Status.CANNOT_UNDERSTAND, "Affected SOP Instance UID (0000,1000) is not a UID")
        header = partial(
            write_part10_header,
            request.sop_class_uid,
            request.sop_instance_uid,
            context.transfer_syntax,
            source_aet=self._aet,
        )
        return FileSink(self._path, request.sop_instance_uid, context.transfer_syntax, header, self._on_instance)


class FileSink:
    """One file, under another name until it is complete. `header` makes what stands before the data set."""

    def __init__(
        self, root: Path, uid: str, syntax: str, header: Callable[..., bytes], on_instance: ReceiveCallback
    ) -> None:
        self._root, self._uid, self._syntax, self._header, self._on_instance = root, uid, syntax, header, on_instance
        self._part = bytearray()
        self._digest = hashlib.sha256()
        self._size = 0
        self._path = Path()
        self._file: BufferedWriter | None = None
        self._fault: OSError | None = None
        self._writing = Lock()
        """An abort may come while a thread writes."""
        self._aborted = False

    def write(self, fragment: memoryview) -> Awaitable[None] | None:
        """Take the next bytes."""
        self._part += fragment
        self._size += len(fragment)
        return asyncio.to_thread(self._flush) if len(self._part) >= _PART else None

    async def finish(self) -> Outcome:
        """Give the file its name."""
        outcome = await asyncio.to_thread(self._finish)
        self._on_instance(self._uid, self._size, outcome)
        return outcome

    def abort(self) -> None:
        """Leave nothing."""
        self._on_instance(
            self._uid, self._size, Outcome(Status.PROCESSING_FAILURE, "the association ended in the middle of it")
        )
        self._aborted = True
        with self._writing:
            self._remove()

    def _flush(self) -> None:
        """Write what has come. Blocks. An error is kept for the answer."""
        with self._writing:
            part, self._part = self._part, bytearray()
            if self._fault is not None or self._aborted:
                return
            self._digest.update(part)
            try:
                if self._file is None:
                    self._file = self._begin(part)
                self._file.write(part)
            except OSError as error:
                self._fault = error

    def _begin(self, beginning: bytearray) -> BufferedWriter:
        folder = self._root / self._place(beginning)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{self._uid}.dcm"
        file = self._temporary.open("wb")
        file.write(self._header())
        return file

    @property
    def _temporary(self) -> Path:
        return self._path.with_name(f".{self._path.name}.{os.getpid()}")

    def _place(self, beginning: bytearray) -> Path:
        try:
            identity = peek_identity(memoryview(beginning), self._syntax, complete=True)
        except OsteonError:
            identity = None
        return Path(identity.study_uid, identity.series_uid) if identity else _UNNAMED

    def _finish(self) -> Outcome:
        self._flush()
        try:
            if self._fault is not None:
                raise self._fault
            if self._file is not None:
                self._file.seek(0)
                self._file.write(self._header(sha256=self._digest.digest()))
                self._file.close()
                self._temporary.replace(self._path)
        except OSError as error:
            self._remove()
            return Outcome(Status.OUT_OF_RESOURCES, f"{self._root}: {error.strerror}")
        return _DONE

    def _remove(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what it could not write is of no interest any more
                self._file.close()
            self._temporary.unlink(missing_ok=True)
