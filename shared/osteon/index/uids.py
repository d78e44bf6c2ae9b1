"""SOP class and transfer syntax UIDs by the numbers that instance rows have for them."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.byte_caches import ByteCache
from osteon.index.database import Database
from osteon.index.tables import uids

_BYTES: Final = 1 << 20
"""Of memory in each direction: thousands of UIDs, where the standard has some hundred."""


class Uids:
    """A cache of the table `uids`, whose rows never change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._numbers: ByteCache[str, int] = ByteCache("uid_numbers", _BYTES, lambda text, _: len(text))
        self._texts: ByteCache[int, str] = ByteCache("uid_texts", _BYTES, lambda _, text: len(text))

    async def numbers(self, texts: Iterable[str]) -> dict[str, int]:
        """Return the numbers of UIDs, new ones for those that are new, in a transaction of its own."""
        wanted = set(texts)
        known = {text: number for text in wanted if (number := self._numbers.get(text)) is not None}
        if new := sorted(wanted - known.keys()):
            added = await self._database.write(lambda connection: self._add(connection, new))
            self._learn(added)
            known.update((text, number) for number, text in added)
        return known

    async def texts(self, connection: AsyncConnection, numbers: Iterable[int]) -> dict[int, str]:
        """Return the UIDs of numbers."""
        wanted = set(numbers)
        known = {number: text for number in wanted if (text := self._texts.get(number)) is not None}
        if unknown := wanted - known.keys():
            result = await connection.execute(select(uids.c.id, uids.c.uid).where(uids.c.id.in_(unknown)))
            found = [(number, text) for number, text in result]
            self._learn(found)
            known.update(found)
        return known

    async def _add(self, connection: AsyncConnection, new: list[str]) -> list[tuple[int, str]]:
        insert = self._database.dialect.insert(uids).on_conflict_do_nothing(index_elements=["uid"])
        await connection.execute(insert, [{"uid": text} for text in new])
        found = await connection.execute(
            select(uids.c.id, uids.c.uid).where(self._database.dialect.among(uids.c.uid, new))
        )
        return [(number, text) for number, text in found]

    def _learn(self, rows: Iterable[tuple[int, str]]) -> None:
        for number, text in rows:
            self._numbers[text] = number
            self._texts[number] = text
