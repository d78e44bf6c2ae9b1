"""The probes of a data folder, and of stores that do other things than they are asked."""

import asyncio
from pathlib import Path

import pytest

from osteon.cli.doctor import objects
from osteon.cli.doctor.report import Findings
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from support.cli.doctor import bad, look


class Stale(FolderObjects):
    """Gives the first bytes forever."""

    async def put(self, key: str, data: bytes) -> None:
        if not (self._folder.root / key).exists():
            await super().put(key, data)


class Deaf(FolderObjects):
    """Gives all when a range is asked for."""

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        return await self.get(key)


class Hoarder(FolderObjects):
    """Deletes nothing."""

    async def delete(self, key: str) -> None:
        return


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Stale, "the old bytes came back"), (Deaf, "than those requested"), (Hoarder, "is still there")],
    ids=["stale", "deaf", "hoarder"],
)
async def test_a_store_that_does_something_else_fails_with_what_it_does(
    tmp_path: Path, kind: type[FolderObjects], said: str
) -> None:
    findings = Findings("objects")
    await objects._try(kind(tmp_path), findings, "store")
    [wrong] = bad(findings.found)
    assert said in wrong
    assert "Osteon cannot keep studies there" in wrong


def test_a_data_folder_that_works_is_in_order_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def made() -> None:
        index = SqlIndex(f"sqlite+aiosqlite:///{tmp_path}/index.sqlite")
        await index.start()
        await index.close()

    asyncio.run(made())
    (tmp_path / "objects" / "1.2").mkdir(parents=True)
    assert bad(look(monkeypatch, "standalone", ["objects", "database"], data=tmp_path)) == []
    assert [path.name for path in (tmp_path / "objects").iterdir() if path.name != ".tmp"] == ["1.2"]


def test_a_file_that_is_no_database_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"not a database at all" * 100)
    [wrong] = bad(look(monkeypatch, "standalone", ["database"], data=tmp_path))
    assert "not a database" in wrong
