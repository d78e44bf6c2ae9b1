"""The migrated schema is the one that `osteon.index.tables` describes, on both databases and without privileges."""

import logging
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from osteon.dicom.models import Level
from osteon.dicom.query import MatchingKey, Search, Wildcard
from osteon.index.database import Database
from osteon.index.migrate import config, upgrade
from osteon.index.sql import SqlIndex
from osteon.index.tables import metadata
from support.index.stored_packs import study


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database_url"))
    return f"sqlite+aiosqlite:///{tmp_path}/index.db"


def differences(connection: Connection) -> list[str]:
    """Return what autogenerate would change, search indexes apart that only one database has."""

    def described(kind: str, name: str | None) -> bool:
        extra = (name or "").endswith("_trigrams") or "_names_fts" in (name or "")
        return kind not in ("table", "index") or not extra

    options = {
        "compare_type": True,
        "include_object": lambda _object, name, kind, *_: described(kind, name),
        "include_name": lambda name, kind, _parents: described(kind, name),
    }
    return [str(change) for change in compare_metadata(MigrationContext.configure(connection, opts=options), metadata)]


async def test_the_revisions_lead_to_the_tables_as_they_are_described(url):
    database = Database(url, 2)
    await database.write(upgrade)
    async with database.read() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


def test_there_is_one_line_of_revisions():
    assert len(ScriptDirectory.from_config(config()).get_heads()) == 1


async def test_foreign_keys_and_durability_are_on_in_sqlite(tmp_path):
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/index.db", 2)
    async with database.read() as connection:
        settings = [(await connection.execute(text(f"PRAGMA {name}"))).scalar_one() for name in
                    ("foreign_keys", "journal_mode", "synchronous")]  # fmt: skip
    assert settings == [1, "wal", 2]
    await database.close()


@pytest.mark.slow
async def test_without_the_right_to_have_trigrams_all_is_found_and_a_warning_is_logged(postgres, database_url, caplog):
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE ROLE modest LOGIN"))
        await connection.execute(text("GRANT ALL ON SCHEMA public TO modest"))
        await connection.execute(text(f'REVOKE CREATE ON DATABASE "{make_url(database_url).database}" FROM PUBLIC'))
    index = SqlIndex(make_url(database_url).set(username="modest").render_as_string(hide_password=False))
    try:
        with caplog.at_level(logging.WARNING):
            await index.start()
        assert "pg_trgm" in caplog.text
        await index.upsert([study("P1", "1.2.1", PatientName="Müller^Jörg")])
        assert await index.count(Search(Level.STUDY, (MatchingKey(("PatientName",), Wildcard("*ller*")),))) == 1
    finally:
        await index.close()
        async with engine.begin() as connection:
            await connection.execute(text("DROP OWNED BY modest"))
            await connection.execute(text("DROP ROLE modest"))
        await engine.dispose()
