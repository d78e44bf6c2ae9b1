"""SOP class and transfer syntax UIDs by the numbers that instance rows have for them."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.index.database import Database
from osteon.index.tables import uids


class Uids:
    """A cache of the table `uids`, whose rows never change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, str] = {}

    async def numbers(self, texts: Iterable[str]) -> dict[str, int]:
        """Return the numbers of UIDs, new ones for those that are new, in a transaction of its own."""
        wanted = set(texts)
        new = sorted(wanted - self._numbers.keys())
        if new:
            self._learn(await self._database.write(lambda connection: self._add(connection, new)))
        return {text: self._numbers[text] for text in wanted}

    async def texts(self, connection: AsyncConnection, numbers: Iterable[int]) -> dict[int, str]:
        """Return the UIDs of numbers."""
        wanted = set(numbers)
        unknown = wanted - self._texts.keys()
        if unknown:
            found = await connection.execute(select(uids.c.id, uids.c.uid).where(uids.c.id.in_(unknown)))
            self._learn((number, text) for number, text in found)
        return {number: self._texts[number] for number in wanted}

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
