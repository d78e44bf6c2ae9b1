"""A record of sent files, one JSON object a line, from which a broken transfer continues."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from osteon.cli.scu.files import DicomFile
from osteon.cli.scu.store_client import StoreResult
from osteon.errors import Invalid

_SECONDS: Final = 1.0


class TransferReport:
    """The files that the peer has acknowledged, by path and size. Without a path it stays empty.

    Args:
        path: of the report, made when there is none.
        destination: which peer it is about; a report about another one is `Invalid`.
    """

    def __init__(self, path: Path | None, destination: str) -> None:
        self._path = path
        self._destination = destination
        self._done: set[tuple[str, int]] = set()
        self._lines: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Read what is there. Blocks; raises `Invalid`."""
        if self._path is None:
            return
        try:
            with self._path.open("a+b") as file:
                file.seek(0)
                first = file.readline()
                if not first:
                    self._lines.append(orjson.dumps({"to": self._destination}))
                elif _fields(first).get("to") != self._destination:
                    raise Invalid(f"{self._path} is not a report of a transfer to {self._destination}")
                for line in file:
                    fields = _fields(line)
                    if fields.get("stored"):
                        self._done.add((str(fields["path"]), int(fields["size"])))
        except OSError as error:
            raise Invalid(f"{self._path}: {error.strerror}") from error

    def start(self) -> None:
        """Write what comes, within a second."""
        if self._path is not None:
            self._task = asyncio.create_task(self._write_always())

    def contains(self, found: DicomFile) -> bool:
        """The peer has acknowledged this file before."""
        return (str(found.path.absolute()), found.size) in self._done

    def add(self, result: StoreResult) -> None:
        """Note what became of a file."""
        if self._path is None:
            return
        found = result.found
        facts = {
            "path": str(found.path.absolute()),
            "size": found.size,
            "sop_instance_uid": found.sop_instance,
            "stored": result.stored,
            "status": result.status,
            "reason": result.reason,
        }
        self._lines.append(orjson.dumps(facts))

    async def close(self) -> None:
        """Write the rest. Raises `Invalid`."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._write()

    async def _write_always(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS)
            await self._write()

    async def _write(self) -> None:
        lines, self._lines = self._lines, []
        if lines and self._path is not None:
            await asyncio.shield(asyncio.to_thread(_append, self._path, b"\n".join([*lines, b""])))


def _append(path: Path, data: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from error


def _fields(line: bytes) -> dict[str, Any]:
    """Return a line's object; a line that was cut by a crash says nothing."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}
