"""Packs in memory that can be damaged, and an association that only notes what is sent."""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable

import xxhash

from osteon.contracts.retrieve import PlannedInstance
from osteon.dicom.part10 import write_part10_header
from osteon.dimse.errors import AssociationAborted, RequestorError
from osteon.dimse.handler import Outcome, PresentationContext
from osteon.dimse.status import Status
from osteon.errors import Invalid
from osteon.objects.port import ObjectNotFound, ObjectsUnavailable
from support.dimse.raw_peer import CT, EXPLICIT

SUCCESS = Outcome(Status.SUCCESS)


class MemoryPacks:
    """The part of `Objects` that sending uses, with the requests that were made."""

    def __init__(self) -> None:
        self.objects: dict[str, bytearray] = {}
        self.reads: list[tuple[str, int, int]] = []
        self.deleted: list[str] = []
        self.broken: set[str] = set()
        self.down = False

    def add(
        self, size: int = 100, *, key: str = "1/1/a.tar", uid: str = "", sop_class: str = CT, syntax: str = EXPLICIT,
        checksum: bool = False,
    ) -> PlannedInstance:  # fmt: skip
        """Append an instance of so many bytes of data set to a pack; its `checksum` is planned on demand."""
        pack = self.objects.setdefault(key, bytearray())
        uid = uid or f"1.2.{len(self.objects)}.{len(pack)}"
        data = (uid.encode() * (size // len(uid) + 1))[:size]
        header = write_part10_header(sop_class, uid, syntax, sha256=hashlib.sha256(data).digest())
        pack += bytes(512)
        offset = len(pack)
        pack += header + data
        return PlannedInstance(
            sop_class_uid=sop_class, sop_instance_uid=uid, transfer_syntax_uid=syntax, key=key, offset=offset,
            length=len(header) + size, xxh3=xxhash.xxh3_128(header + data).digest() if checksum else b"",
        )  # fmt: skip

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.reads.append((key, offset, length))
        if self.down or key in self.broken:
            raise ObjectsUnavailable("input/output error")
        if key not in self.objects:
            raise ObjectNotFound(f"there is no object {key!r}")
        if offset + length > len(self.objects[key]):
            raise Invalid("beyond the end")
        return bytes(self.objects[key][offset : offset + length])

    async def check(self) -> None:
        if self.down:
            raise ObjectsUnavailable("down")

    async def delete(self, key: str) -> None:
        self.deleted.append(key)
        self.objects.pop(key, None)


class FakeStoreAssociation:
    """An association on which the peer takes these contexts, (SOP class, transfer syntax).

    It answers as `answers` says by SOP Instance UID, and breaks when it comes to one of `breaks`.
    """

    def __init__(self, *accepted: tuple[str, str]) -> None:
        chosen = accepted or ((CT, EXPLICIT),)
        self.contexts = tuple(PresentationContext(2 * n + 1, *each) for n, each in enumerate(chosen))
        self.sent: list[tuple[str, str, bytes]] = []
        self.originators: list[tuple[str, int] | None] = []
        self.answers: dict[str, Outcome] = {}
        self.breaks: dict[str, RequestorError] = {}
        self.error: RequestorError | None = None

    def contexts_to_use(self, abstract_syntax: str) -> list[PresentationContext]:
        return [context for context in self.contexts if context.abstract_syntax == abstract_syntax]

    async def store(
        self,
        context: PresentationContext,
        sop_class_uid: str,
        sop_instance_uid: str,
        data: AsyncIterable[memoryview],
        *,
        move_originator: tuple[str, int] | None = None,
    ) -> Outcome:
        if self.error is None:
            self.error = self.breaks.get(sop_instance_uid)
        if self.error is not None:
            raise self.error
        received = bytearray()
        try:
            async for part in data:
                received += part
        except Exception:
            if received:
                self.error = AssociationAborted("half of a data set")
            raise
        self.sent.append((sop_instance_uid, context.transfer_syntax, bytes(received)))
        self.originators.append(move_originator)
        return self.answers.get(sop_instance_uid, SUCCESS)

    @property
    def uids(self) -> list[str]:
        return [uid for uid, _, _ in self.sent]


async def each(instances: Iterable[PlannedInstance]) -> AsyncIterator[PlannedInstance]:
    """Iterate as a plan does."""
    for instance in instances:
        yield instance
