"""Transactions of storage commitment in the index (`osteon.commitment.port.Commitments`)."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Column, ColumnElement, LargeBinary, Row, Table, Text, UniqueConstraint, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.commitment.port import (
    Commitment,
    CommitmentFailure,
    CommitmentItem,
    CommitmentNotFound,
    CommitmentRole,
    FailureReason,
)
from osteon.index.database import Database
from osteon.index.tables import Bytewise, Moment, metadata

commitments: Final = Table(
    "commitments", metadata,
    Column("id", Bytewise, primary_key=True),
    Column("role", Text, nullable=False),
    Column("transaction_uid", Bytewise, nullable=False),
    Column("remote_aet", Bytewise, nullable=False),
    Column("local_aet", Text, nullable=False),
    Column("remote", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("items", LargeBinary, nullable=False),
    Column("created", Moment, nullable=False, index=True),
    Column("failures", LargeBinary),
    Column("reported", Moment),
    Column("watched", Moment),
    UniqueConstraint("transaction_uid", "remote_aet", "role", "digest"),
)  # fmt: skip
"""`items` and `failures`: JSON lists, deflated; `digest`: SHA-256 of the items."""

_c = commitments.c


class SqlCommitments:
    """Implements `osteon.commitment.port.Commitments`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, commitment: Commitment) -> Commitment:
        """See `Commitments`."""
        packed = _pack(commitment.items)
        digest = hashlib.sha256(_json(sorted(commitment.items))).digest()
        return await self._database.write(lambda connection: self._begin(connection, commitment, packed, digest))

    async def _begin(
        self, connection: AsyncConnection, commitment: Commitment, packed: bytes, digest: bytes
    ) -> Commitment:
        same = (
            _c.transaction_uid == commitment.transaction_uid,
            _c.remote_aet == commitment.remote_aet,
            _c.role == commitment.role.value,
        )
        known = (await connection.execute(select(commitments).where(*same, _c.digest == digest))).one_or_none()
        if known is not None:
            return await _again(connection, _commitment(known), commitment.created)
        failures = None
        if (await connection.execute(select(_c.id).where(*same).limit(1))).first():
            failures = tuple(
                CommitmentFailure(item, FailureReason.DUPLICATE_TRANSACTION_UID) for item in commitment.items
            )
        values = {
            "id": commitment.id, "role": commitment.role.value, "transaction_uid": commitment.transaction_uid,
            "remote_aet": commitment.remote_aet, "local_aet": commitment.local_aet, "remote": commitment.remote,
            "digest": digest, "items": packed, "created": commitment.created, "watched": commitment.watched,
            "failures": None if failures is None else _pack(failures),
        }  # fmt: skip
        await connection.execute(commitments.insert(), [values])
        return replace(commitment, failures=failures)

    async def get(self, commitment_id: str) -> Commitment:
        """See `Commitments`."""
        return await self._one(_c.id == commitment_id)

    async def by_transaction(self, transaction_uid: str) -> Commitment:
        """See `Commitments`."""
        return await self._one(_c.transaction_uid == transaction_uid, _c.role == CommitmentRole.SCU.value)

    async def record_result(self, commitment_id: str, failures: Sequence[CommitmentFailure]) -> None:
        """See `Commitments`."""
        await self._update(commitment_id, failures=_pack(failures))

    async def record_report(self, commitment_id: str, at: datetime) -> None:
        """See `Commitments`."""
        await self._update(commitment_id, reported=at, watched=None)

    async def watch_until(self, commitment_id: str, until: datetime | None) -> None:
        """See `Commitments`."""
        await self._update(commitment_id, watched=until)

    async def prune(self, before: datetime) -> int:
        """See `Commitments`."""
        return await self._database.execute(delete(commitments).where(_c.created < before))

    async def _one(self, *where: ColumnElement[bool]) -> Commitment:
        async with self._database.read() as connection:
            row = (await connection.execute(select(commitments).where(*where).limit(1))).one_or_none()
        if row is None:
            raise CommitmentNotFound("there is no such transaction of storage commitment")
        return _commitment(row)

    async def _update(self, commitment_id: str, **values: object) -> None:
        changed = update(commitments).where(_c.id == commitment_id).values(**values)
        if not await self._database.execute(changed):
            raise CommitmentNotFound("there is no such transaction of storage commitment")


async def _again(connection: AsyncConnection, known: Commitment, now: datetime) -> Commitment:
    if known.reported is None:
        return known
    duplicate = any(failure.reason == FailureReason.DUPLICATE_TRANSACTION_UID for failure in known.failures or ())
    values = {"created": now, "reported": None, "watched": None}
    if not duplicate:
        values["failures"] = None
    await connection.execute(update(commitments).where(_c.id == known.id).values(**values))
    return replace(known, created=now, reported=None, watched=None, failures=known.failures if duplicate else None)


def _pack(values: Sequence[CommitmentItem] | Sequence[CommitmentFailure]) -> bytes:
    return zlib.compress(_json(values))


def _json(values: Sequence[CommitmentItem] | Sequence[CommitmentFailure]) -> bytes:
    return orjson.dumps(list(values), default=list)  # orjson takes no named tuples


def _commitment(row: Row[Any]) -> Commitment:
    values = row._asdict()
    del values["digest"]
    values["role"] = CommitmentRole(values["role"])
    values["items"] = tuple(CommitmentItem(*each) for each in _unpack(values["items"]))
    if values["failures"] is not None:
        values["failures"] = tuple(
            CommitmentFailure(CommitmentItem(*item), reason) for item, reason in _unpack(values["failures"])
        )
    return Commitment(**values)


def _unpack(packed: bytes) -> list[Any]:
    return list(orjson.loads(zlib.decompress(packed)))
