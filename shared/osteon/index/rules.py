"""Routing rules, and destinations that fail, in the index (`osteon.rules.port`)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Row, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.index.database import Database
from osteon.index.rule_tables import circuits, rules
from osteon.rules.errors import RuleNotFound
from osteon.rules.port import Circuit, StoredRule

_r, _c = rules.c, circuits.c
_MAX_ERROR: Final = 500


class SqlRules:
    """Implements `osteon.rules.port.Rules`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[StoredRule]:
        """See `Rules`."""
        return await self._rules()

    async def get(self, name: str) -> StoredRule:
        """See `Rules`."""
        for rule in await self._rules(_r.name == name):
            return rule
        raise _unknown(name)

    async def put(self, rule: StoredRule) -> None:
        """See `Rules`."""
        insert = self._database.dialect.insert(rules).values(
            name=rule.name, enabled=rule.enabled, body=orjson.dumps(dict(rule.body)).decode()
        )
        changed = {name: insert.excluded[name] for name in ("enabled", "body")}
        await self._database.execute(insert.on_conflict_do_update(index_elements=["name"], set_=changed))

    async def enable(self, name: str, enabled: bool) -> None:
        """See `Rules`."""
        if not await self._database.execute(update(rules).where(_r.name == name).values(enabled=enabled)):
            raise _unknown(name)

    async def delete(self, name: str) -> None:
        """See `Rules`."""
        if not await self._database.execute(delete(rules).where(_r.name == name)):
            raise _unknown(name)

    async def _rules(self, *where: ColumnElement[bool]) -> list[StoredRule]:
        async with self._database.read() as connection:
            found = await connection.execute(select(rules).where(*where).order_by(_r.name))
            return [StoredRule(row.name, orjson.loads(row.body), row.enabled) for row in found]


class SqlCircuits:
    """Implements `osteon.rules.port.Circuits`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[Circuit]:
        """See `Circuits`."""
        return await self._circuits()

    async def get(self, destination: str) -> Circuit | None:
        """See `Circuits`."""
        return next(iter(await self._circuits(_c.destination == destination)), None)

    async def probe(self, destination: str, now: datetime, until: datetime) -> bool:
        """See `Circuits`."""
        free = or_(_c.probing.is_(None), _c.probing <= now)
        taken = update(circuits).where(_c.destination == destination, _c.retry <= now, free).values(probing=until)
        return await self._database.execute(taken) == 1

    async def failed(self, destination: str, error: str, now: datetime) -> int:
        """See `Circuits`."""
        shown = error.replace("\x00", "")[:_MAX_ERROR]
        insert = self._database.dialect.insert(circuits).values(
            destination=destination, failures=1, error=shown, since=now
        )
        values = {"failures": _c.failures + 1, "error": shown}
        counted = insert.on_conflict_do_update(index_elements=["destination"], set_=values).returning(_c.failures)

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(counted)).scalar_one())

        return await self._database.write(work)

    async def open(self, destination: str, retry: datetime) -> None:
        """See `Circuits`."""
        changed = update(circuits).where(_c.destination == destination).values(retry=retry, probing=None)
        await self._database.execute(changed)

    async def close(self, destination: str) -> None:
        """See `Circuits`."""
        await self._database.execute(delete(circuits).where(_c.destination == destination))

    async def _circuits(self, *where: ColumnElement[bool]) -> list[Circuit]:
        async with self._database.read() as connection:
            found = await connection.execute(select(circuits).where(*where).order_by(_c.destination))
            return [_circuit(row) for row in found]


def _circuit(row: Row[Any]) -> Circuit:
    return Circuit(**row._asdict())


def _unknown(name: str) -> RuleNotFound:
    return RuleNotFound(f"there is no rule {name[:80]!r}")
