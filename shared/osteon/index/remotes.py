"""Modalities and peers in the index (`osteon.remotes.port.Remotes`)."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Row, Table, delete, select

from osteon.index.database import Database
from osteon.index.remote_tables import modalities, peers
from osteon.remotes.port import Manufacturer, Modality, Peer, Permission, RemoteNotFound

_MODALITY: Final = tuple(column.name for column in modalities.c)
_PEER: Final = tuple(column.name for column in peers.c)


class SqlRemotes:
    """Implements `osteon.remotes.port.Remotes`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def modalities(self) -> Sequence[Modality]:
        """See `Remotes`."""
        return [_modality(row) for row in await self._rows(modalities)]

    async def modality(self, name: str) -> Modality:
        """See `Remotes`."""
        return _modality(await self._row(modalities, name, "modality"))

    async def modalities_of(self, aet: str) -> Sequence[Modality]:
        """See `Remotes`."""
        return [_modality(row) for row in await self._rows(modalities, modalities.c.aet == aet)]

    async def put_modality(self, modality: Modality) -> None:
        """See `Remotes`."""
        permissions = " ".join(sorted(modality.permissions))
        values = {name: getattr(modality, name) for name in _MODALITY if name != "permissions"}
        await self._put(modalities, {**values, "permissions": permissions, "manufacturer": modality.manufacturer.value})

    async def delete_modality(self, name: str) -> None:
        """See `Remotes`."""
        await self._delete(modalities, name, "modality")

    async def peers(self) -> Sequence[Peer]:
        """See `Remotes`."""
        return [_peer(row) for row in await self._rows(peers)]

    async def peer(self, name: str) -> Peer:
        """See `Remotes`."""
        return _peer(await self._row(peers, name, "peer"))

    async def put_peer(self, peer: Peer) -> None:
        """See `Remotes`."""
        values = {name: getattr(peer, name) for name in _PEER if name != "headers"}
        await self._put(peers, {**values, "headers": orjson.dumps(peer.headers).decode()})

    async def delete_peer(self, name: str) -> None:
        """See `Remotes`."""
        await self._delete(peers, name, "peer")

    async def _rows(self, table: Table, *where: ColumnElement[bool]) -> Sequence[Row[Any]]:
        async with self._database.read() as connection:
            return (await connection.execute(select(table).where(*where).order_by(table.c.name))).all()

    async def _row(self, table: Table, name: str, kind: str) -> Row[Any]:
        for row in await self._rows(table, table.c.name == name):
            return row
        raise _unknown(kind, name)

    async def _put(self, table: Table, values: dict[str, object]) -> None:
        insert = self._database.dialect.insert(table)
        changed = {name: insert.excluded[name] for name in values if name != "name"}
        await self._database.execute(insert.values(values).on_conflict_do_update(index_elements=["name"], set_=changed))

    async def _delete(self, table: Table, name: str, kind: str) -> None:
        if not await self._database.execute(delete(table).where(table.c.name == name)):
            raise _unknown(kind, name)


def _unknown(kind: str, name: str) -> RemoteNotFound:
    return RemoteNotFound(f"there is no {kind} {name[:80]!r}")


def _modality(row: Row[Any]) -> Modality:
    values = row._asdict()
    permissions = frozenset(Permission(word) for word in values.pop("permissions").split())
    return Modality(permissions=permissions, manufacturer=Manufacturer(values.pop("manufacturer")), **values)


def _peer(row: Row[Any]) -> Peer:
    values = row._asdict()
    headers = tuple((name, value) for name, value in orjson.loads(values.pop("headers")))
    return Peer(headers=headers, **values)
