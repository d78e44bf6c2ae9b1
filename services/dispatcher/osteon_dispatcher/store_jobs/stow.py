"""Sends instances by STOW-RS (PS3.18 10.5), some in each request."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

import orjson

from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.objects.port import Bytes
from osteon.remotes.port import Peer
from osteon.sending.reader import UnreadableInstance
from osteon.sending.suboperations import SubOperationResult
from osteon_dispatcher.peer_client import PeerAnswer, PeerClient, PeerPolicy, open_peer
from osteon_dispatcher.store_jobs.files import PeerFile, PeerFiles

_BYTES: Final = 64 << 20
"""Of the files of one request, unless one alone has more."""
_FILES: Final = 200
_PART: Final = b"Content-Type: application/dicom\r\n\r\n"
_ANSWERED: Final = frozenset({200, 202, 400, 409})
"""Statuses of answers that may report each instance (PS3.18 Table 10.5.3-1)."""
_FAILED, _STORED, _SOP_UID = "00081198", "00081199", "00081155"
_FAILURE_REASON, _WARNING_REASON, _COMMENT = "00081197", "00081196", "00000902"


class StowUploader:
    """Posts multipart bodies to `/studies`."""

    def __init__(self, peer: Peer, files: PeerFiles, policy: PeerPolicy) -> None:
        self._peer = peer
        self._policy = policy
        self._files = files

    async def deliver(self, instances: AsyncIterator[PlannedInstance]) -> AsyncGenerator[SubOperationResult]:
        """Yield what became of each instance, in order. Raises `PeerUnavailable`, `PeerRefused`, `Unavailable`."""
        async with open_peer(self._peer, self._policy) as client:
            async for batch in _batches(instances):
                for result in await self._send(client, batch):
                    yield result

    async def _send(self, client: PeerClient, batch: Sequence[PlannedInstance]) -> list[SubOperationResult]:
        """Send instances together; one by one when one of them cannot be read."""
        async with AsyncExitStack() as stack:
            prepared = [await stack.enter_async_context(self._files.prepare(instance)) for instance in batch]
            files = [each for each in prepared if isinstance(each, PeerFile)]
            try:
                answer = await self._post(client, files) if files else None
            except UnreadableInstance as error:
                if len(batch) == 1:
                    return [SubOperationResult(batch[0], None, str(error))]
            else:
                outcomes = _outcomes(answer) if answer else {}
                return [
                    each if isinstance(each, SubOperationResult) else _result_of(each, answer, outcomes)
                    for each in prepared
                ]
        return [result for instance in batch for result in await self._send(client, [instance])]

    async def _post(self, client: PeerClient, files: Sequence[PeerFile]) -> PeerAnswer:
        boundary = uuid.uuid4().hex
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        }
        opening, closing = f"--{boundary}\r\n".encode() + _PART, f"--{boundary}--\r\n".encode()
        length = sum(len(opening) + file.length + 2 for file in files) + len(closing)
        return await client.post("/studies", headers, partial(self._body, files, opening, closing), length)

    async def _body(self, files: Sequence[PeerFile], opening: bytes, closing: bytes) -> AsyncGenerator[Bytes]:
        for file in files:
            yield opening
            async for chunk in self._files.chunks(file):
                yield chunk
            yield b"\r\n"
        yield closing


async def _batches(instances: AsyncIterator[PlannedInstance]) -> AsyncIterator[list[PlannedInstance]]:
    batch: list[PlannedInstance] = []
    size = 0
    async for instance in instances:
        if batch and (size + instance.length > _BYTES or len(batch) == _FILES):
            yield batch
            batch, size = [], 0
        batch.append(instance)
        size += instance.length
    if batch:
        yield batch


def _result_of(file: PeerFile, answer: PeerAnswer | None, outcomes: Mapping[str, Outcome]) -> SubOperationResult:
    """Return what an answer says of an instance: by its UID, else by the status alone."""
    assert answer is not None
    instance = file.instance
    if answer.status not in _ANSWERED:
        return SubOperationResult(instance, None, answer.problem, transient=answer.is_retryable)
    outcome = outcomes.get(instance.sop_instance_uid)
    if outcome is None and answer.status == 200:
        outcome = Outcome(Status.SUCCESS)
    if outcome is None:
        return SubOperationResult(instance, None, f"the peer does not confirm the instance, and {answer.problem}")
    return SubOperationResult(instance, outcome, "", instance.sop_instance_uid, file.length)


def _outcomes(answer: PeerAnswer) -> Mapping[str, Outcome]:
    """Read the Store Instances Response Module (PS3.18 Table 10.5.3-2): SOP Instance UID → outcome."""
    try:
        module = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(module, dict):
        return {}
    stored = {_uid(item): _outcome(item, _WARNING_REASON, Status.SUCCESS) for item in _items(module, _STORED)}
    failed = {
        _uid(item): _outcome(item, _FAILURE_REASON, Status.PROCESSING_FAILURE) for item in _items(module, _FAILED)
    }
    return stored | failed


def _items(module: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    element = module.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _value(item: Mapping[str, Any], tag: str) -> Any:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _uid(item: Mapping[str, Any]) -> str:
    return str(_value(item, _SOP_UID))


def _outcome(item: Mapping[str, Any], tag: str, otherwise: Status) -> Outcome:
    reason = _value(item, tag)
    known = isinstance(reason, int) and 0 < reason <= 0xFFFF
    return Outcome(Status(reason) if known else otherwise, str(_value(item, _COMMENT) or ""))
