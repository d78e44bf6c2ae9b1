"""Searches in other archives and their answers (`osteon.remotes.queries.RemoteQueries`)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Row, Select, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.index.database import Database
from osteon.index.remote_tables import remote_answers, remote_queries
from osteon.remotes.queries import QueryNotFound, RemoteQuery

_q, _a = remote_queries.c, remote_answers.c
_COLUMNS: Final = tuple(column.name for column in _q)


class SqlQueries:
    """Implements `osteon.remotes.queries.RemoteQueries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, query: RemoteQuery, *, keep: int, older_than: datetime) -> None:
        """See `RemoteQueries`."""
        values = {name: getattr(query, name) for name in _COLUMNS if name != "query"}
        values["query"] = orjson.dumps(dict(query.query)).decode()
        newest = select(_q.id).order_by(_q.created.desc(), _q.id.desc()).limit(max(keep, 0)).scalar_subquery()

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert(remote_queries), [values])
            await _forget(connection, or_(_q.created < older_than, _q.id.not_in(newest)))

        await self._database.write(work)

    async def add_answers(self, query_id: str, answers: Sequence[bytes]) -> None:
        """See `RemoteQueries`."""
        # The update locks the row, so that batches of one search are numbered one after the other.
        count = update(remote_queries).where(_q.id == query_id).values(answers=_q.answers + len(answers))

        async def work(connection: AsyncConnection) -> None:
            total = await connection.scalar(count.returning(_q.answers))
            if total is None:
                raise _unknown(query_id)
            first = total - len(answers)
            rows = [{"query": query_id, "number": first + i, "header": header} for i, header in enumerate(answers)]
            if rows:
                await connection.execute(insert(remote_answers), rows)

        await self._database.write(work)

    async def list(self) -> Sequence[RemoteQuery]:
        """See `RemoteQueries`."""
        return await self._queries(select(remote_queries).order_by(_q.created, _q.id))

    async def get(self, query_id: str) -> RemoteQuery:
        """See `RemoteQueries`."""
        for found in await self._queries(select(remote_queries).where(_q.id == query_id)):
            return found
        raise _unknown(query_id)

    async def answers(self, query_id: str, *, since: int = 0, limit: int | None = None) -> Sequence[bytes]:
        """See `RemoteQueries`."""
        chosen = select(_a.header).where(_a.query == query_id, _a.number >= since).order_by(_a.number).limit(limit)
        async with self._database.read() as connection:
            return (await connection.scalars(chosen)).all()

    async def delete(self, query_id: str) -> None:
        """See `RemoteQueries`."""

        async def work(connection: AsyncConnection) -> int:
            return await _forget(connection, _q.id == query_id)

        if not await self._database.write(work):
            raise _unknown(query_id)

    async def _queries(self, chosen: Select[Any]) -> Sequence[RemoteQuery]:
        async with self._database.read() as connection:
            return [_query(row) for row in await connection.execute(chosen)]


async def _forget(connection: AsyncConnection, which: ColumnElement[bool]) -> int:
    gone = (await connection.scalars(delete(remote_queries).where(which).returning(_q.id))).all()
    if gone:
        await connection.execute(delete(remote_answers).where(_a.query.in_(gone)))
    return len(gone)


def _unknown(query_id: str) -> QueryNotFound:
    return QueryNotFound(f"there is no query {query_id[:80]!r}")


def _query(row: Row[Any]) -> RemoteQuery:
    values = row._asdict()
    return RemoteQuery(query=orjson.loads(values.pop("query")), **values)
