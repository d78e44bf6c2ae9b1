"""Changing user data: first an object beside the packs, then rows, so that nothing is lost with the index."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from osteon.contracts.user_data import UserDataRecord, record_key
from osteon.dicom.models import Level
from osteon.errors import NotFound, Unavailable
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.packs.ids import new_pack_id
from osteon.user_data.limits import check_limits
from osteon.user_data.port import UserData, UserDataLimit, UserDataStore

log = get_logger(__name__)
_ATTEMPTS: Final = 50
_PAUSE: Final = 0.02
"""Seconds, at most, before a change is tried again that another one overtook."""


async def change_user_data(
    level: Level,
    public_id: str,
    change: Callable[[UserData], UserData],
    *,
    objects: Objects,
    store: UserDataStore,
    correlation_id: str,
) -> UserData:
    """Change the user data of one resource; returns what they are afterwards.

    `change` gets them as they are and returns what they become, without touching `revision` and `record`. It is called
    again when somebody else changed them meanwhile. What it raises comes through; so do `ResourceNotFound`,
    `UserDataLimit` and `Unavailable`, after which the change may have happened.
    """
    for _ in range(_ATTEMPTS):
        old = await store.read(level, public_id)
        new = change(old)
        if new == old:
            return old
        check_limits(old, new)
        record = _record(level, public_id, old.revision + 1, new, correlation_id)
        await objects.put(record.key, record.model_dump_json().encode())
        if await store.replace(old, record):
            kept = {each.key for each in record.attachments.values()}
            gone = {each.key for each in old.attachments.values()} - kept
            await _delete(objects, *gone, *([old.record] if old.record else []))
            return user_data_of(record)
        if (await store.read(level, public_id)).record != record.key:  # as a sweep may have found the record already
            await _delete(objects, record.key)
        await asyncio.sleep(random.uniform(0, _PAUSE))  # noqa: S311 - no secret
    raise Unavailable(f"the user data of {public_id} are changed by too many at the same time; try again later")


async def follow_renamed(study_uid: str, *, objects: Objects, store: UserDataStore, correlation_id: str) -> None:
    """Give what has another identifier since a reconciliation the labels, metadata and protection that it had before.

    Of metadata that both have, those that were changed more often hold. Attachments stay under the former identifier,
    which has them again when the reconciliation is undone.
    """
    for level, former, current in await store.renamed(study_uid):
        before = (await store.read_many(level, [former])).get(former, UserData())
        try:
            await change_user_data(
                level,
                current,
                partial(_merged, before),
                objects=objects,
                store=store,
                correlation_id=correlation_id,
            )
        except (UserDataLimit, NotFound) as error:
            log.warning("user data did not follow a resource", former=former, current=current, error=str(error))


def _merged(before: UserData, now: UserData) -> UserData:
    newer = {
        code: value
        for code, value in before.metadata.items()
        if code not in now.metadata or now.metadata[code].revision < value.revision
    }
    return replace(
        now,
        labels=before.labels | now.labels,
        metadata={**now.metadata, **newer},
        protected=before.protected or now.protected,
    )


def user_data_of(record: UserDataRecord) -> UserData:
    """Return what a record says."""
    return UserData(
        frozenset(record.labels),
        record.metadata,
        record.attachments,
        record.protected,
        record.revision,
        record.key,
    )


def _record(level: Level, public_id: str, revision: int, data: UserData, correlation_id: str) -> UserDataRecord:
    return UserDataRecord(
        correlation_id=correlation_id,
        level=level,
        public_id=public_id,
        key=record_key(level, public_id, revision, new_pack_id()),
        revision=revision,
        changed_at=datetime.now(UTC),
        labels=tuple(sorted(data.labels)),
        metadata=dict(data.metadata),
        attachments=dict(data.attachments),
        protected=data.protected,
    )


async def _delete(objects: Objects, *keys: str) -> None:
    """Delete what no row names any more. What stays there does no harm, so a store that is down is no error."""
    for key in keys:
        try:
            await objects.delete(key)
        except Unavailable as error:
            log.warning("object of old user data not deleted", key=key, error=str(error))
