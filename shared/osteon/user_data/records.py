"""User data out of the object store: for a new index, and for what an interrupted change left."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import ValidationError

from osteon.chunking import in_chunks
from osteon.contracts.user_data import PREFIX, UserDataRecord
from osteon.logging import get_logger
from osteon.objects.port import ObjectInfo, ObjectNotFound, Objects
from osteon.user_data.port import UserDataStore

log = get_logger(__name__)
_CHUNK: Final = 500


async def restore_user_data(*, objects: Objects, store: UserDataStore, min_age: timedelta) -> int:
    """Write the user data of the object store into the index where they are newer; return how many there were.

    Records younger than `min_age` are skipped: they may be on their way.
    """
    restored = 0
    async for infos in in_chunks(_newest(objects), _CHUNK):
        now = datetime.now(UTC)
        known = await store.known_objects([info.key for info in infos])
        for info in infos:
            if info.key not in known and abs(now - info.modified) >= min_age:
                restored += await _restore(info.key, objects, store)
    return restored


async def _restore(key: str, objects: Objects, store: UserDataStore) -> bool:
    try:
        record = UserDataRecord.model_validate_json(await objects.get(key))
    except (ValidationError, ObjectNotFound) as error:
        log.error("user data not restored", key=key, error=str(error))
        return False
    return await store.restore(record)


async def _newest(objects: Objects) -> AsyncIterator[ObjectInfo]:
    """Yield the greatest record of each resource, whose objects come together."""
    newest: ObjectInfo | None = None
    async for info in objects.list(PREFIX):
        if not is_record(info.key):
            continue
        if newest and _folder(newest.key) != _folder(info.key):
            yield newest
            newest = None
        newest = max(newest or info, info, key=lambda each: each.key)
    if newest:
        yield newest


def is_record(key: str) -> bool:
    """Whether an object of user data is a record, not an attachment."""
    return key.startswith(PREFIX) and key.endswith(".json")


def _folder(key: str) -> str:
    return key.rpartition("/")[0]
