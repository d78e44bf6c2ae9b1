"""Tables are brought up to date at the start, or by `osteon migrate` while the services wait."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from osteon.cli import migrate
from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon.errors import Unavailable
from osteon.index.sql import SqlIndex
from osteon.settings import IndexSettings
from support.index.stored_packs import entry, pack, sqlite_url

app = Typer()
app.command()(migrate.main)


async def start(url: str, *, migrate: bool = False) -> None:
    """Start as a service does that leaves the tables to `osteon migrate`, or makes them."""
    index = SqlIndex(url, migrate=migrate)
    try:
        await index.start()
        await index.check()
    finally:
        await index.close()


def set_revision(file: Path, revision: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()


async def test_without_tables_a_service_that_does_not_migrate_waits_and_makes_none(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/i.sqlite"
    for _ in range(2):
        with pytest.raises(Unavailable, match="osteon migrate"):
            await start(url)


async def test_with_older_tables_it_waits_too(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "i.sqlite")
    set_revision(tmp_path / "i.sqlite", "0001")
    with pytest.raises(Unavailable, match="older release"):
        await start(url)


@pytest.mark.parametrize("migrate", [False, True])
async def test_with_newer_tables_it_starts_so_that_an_upgrade_goes_pod_by_pod_and_back(
    tmp_path: Path, migrate: bool
) -> None:
    url = sqlite_url(tmp_path / "i.sqlite")
    set_revision(tmp_path / "i.sqlite", "of-the-future")
    await start(url, migrate=migrate)
    await start(url, migrate=migrate)


def test_the_command_makes_the_tables_that_services_wait_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/i.sqlite"
    monkeypatch.setenv("OSTEON_DATABASE_URL", url)
    monkeypatch.setattr("osteon.logging.setup", lambda *_, **__: None)  # it would outlive this test
    monkeypatch.setenv("OSTEON_MIGRATE", "false")  # a setting of the services must not stop the command
    for _ in range(2):
        assert CliRunner().invoke(app).exit_code == 0
    asyncio.run(start(url))


async def test_the_setting_says_who_migrates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OSTEON_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/i.sqlite")
    monkeypatch.setenv("OSTEON_MIGRATE", "false")
    with pytest.raises(Unavailable):
        await SqlIndex.from_settings(IndexSettings()).start()
    monkeypatch.delenv("OSTEON_MIGRATE")
    index = SqlIndex.from_settings(IndexSettings())
    await index.start()
    await index.close()


ADDED_SINCE = (
    ("conflicts", "compared"), ("packs", "sidecar_offset"), ("instances", "xxh3"), ("conflicts", "xxh3"),
    ("packs", "reconciled_by"), ("peers", "allow_delete"), ("instances", "instance_number_text"),
    ("instances", "number_of_frames_text"), ("series", "series_number_text"),
    ("series", "cardiac_number_of_images_text"), ("series", "images_in_acquisition_text"),
    ("series", "number_of_temporal_positions_text"),
)  # fmt: skip
TABLES_SINCE = (
    "study_updates", "reconciliations", "former_ids", "split_series", "user_data", "labels", "resource_metadata",
    "attachments",
)  # fmt: skip


async def test_studies_and_series_of_several_patients_that_are_there_already_are_marked(tmp_path: Path) -> None:
    index = SqlIndex(sqlite_url(tmp_path / "i.sqlite"))
    await index.start()
    await index.upsert([pack(entry(f"P{n}", "1.2", "1.2.1", f"1.2.1.{n}")) for n in range(2)])
    await index.upsert([pack(entry("P1", "1.3", "1.3.1", "1.3.1.1"))])
    (before,) = await index.split_studies()
    await index.close()
    with sqlite3.connect(tmp_path / "i.sqlite") as connection:
        for table in ("studies", "series"):
            connection.execute(f"DROP INDEX ix_{table}_shared_uid")
            connection.execute(f"ALTER TABLE {table} DROP COLUMN shared_uid")
        for later in ("added", "updated", "removed"):
            connection.execute(f"DROP TRIGGER studies_{later}")
        for table in TABLES_SINCE:
            connection.execute(f"DROP TABLE {table}")
        for table, column in ADDED_SINCE:
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    connection.close()
    set_revision(tmp_path / "i.sqlite", "0006")
    await index.start()
    assert list(await index.split_studies()) == [before]
    assert await index.count(Search(Level.STUDY, one_per_uid=True)) == 2
    assert await index.count(Search(Level.SERIES, one_per_uid=True)) == 2
    await index.close()
