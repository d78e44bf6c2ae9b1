"""Migrations expand: the release before goes on reading and writing while and after they run (docs/upgrade.md)."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, event, insert, select
from sqlalchemy.engine import Engine

from osteon.index.migrate import config

EXCEPTIONS: dict[str, str] = {
    "0007": "indexes studies and series and marks those whose UID is shared: writers wait",
    "0008": "indexes studies by more columns, and watches when they are updated: writers wait",
}
"""Revision → why it does more than add, and what an upgrade has to do about it, as docs/upgrade.md says."""
REVISIONS = [script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()][::-1]

_ADDS = (
    r"CREATE (VIRTUAL )?TABLE (?P<made>\w+)",
    r"CREATE (UNIQUE )?INDEX \w+ ON (?P<indexed>\w+)",
    r"CREATE TRIGGER \w+ AFTER (INSERT|DELETE|UPDATE) ON (?P<watched>\w+)",
    r"ALTER TABLE \w+ ADD COLUMN \w+ (?!(?=.*NOT NULL)(?!.*DEFAULT))",
    r"INSERT INTO (?P<filled>\w+)",
)
_HARMLESS = re.compile(r"SELECT|PRAGMA|UPDATE totals |(CREATE TABLE|INSERT INTO|UPDATE) alembic_version")
"""Alembic's own note; sums, which are made again under the lock that each writer takes."""


@cache
def statements() -> dict[str, list[str]]:
    """Return the changes that each revision makes."""
    found: dict[str, list[str]] = {}
    engine = create_engine("sqlite://")

    def note(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        found[revision].append(" ".join(statement.split()))

    event.listen(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        alembic = config()
        alembic.attributes["connection"] = connection
        for revision in REVISIONS:
            found[revision] = []
            command.upgrade(alembic, revision)
    engine.dispose()
    return found


def faults(changes: list[str]) -> Iterator[str]:
    """Return the changes of one revision that the release before would notice."""
    made: set[str] = set()
    for change in changes:
        if _HARMLESS.match(change):
            continue
        match = next(filter(None, (re.match(pattern, change) for pattern in _ADDS)), None)
        groups = match.groupdict() if match else {}
        made |= {groups["made"]} if groups.get("made") else set()
        old = {groups.get(kind) for kind in ("indexed", "watched", "filled")} - {None} - made
        if match is None or old:
            yield change


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_revision_only_adds_what_the_release_before_does_not_notice(revision: str) -> None:
    found = list(faults(statements()[revision]))
    assert bool(found) == (revision in EXCEPTIONS), found


def test_every_revision_changes_something() -> None:
    assert all(len(statements()[revision]) > 1 for revision in REVISIONS)


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        ("ALTER TABLE studies ADD COLUMN note TEXT", False),
        ("ALTER TABLE studies ADD COLUMN note TEXT DEFAULT '' NOT NULL", False),
        ("ALTER TABLE studies ADD COLUMN note TEXT NOT NULL", True),
        ("ALTER TABLE studies DROP COLUMN study_id", True),
        ("ALTER TABLE studies RENAME COLUMN study_id TO id2", True),
        ("DROP TABLE jobs", True),
        ("DROP INDEX ix_jobs_created", True),
        ("CREATE TABLE notes (id INTEGER)", False),
        ("CREATE INDEX ix_jobs_state ON jobs (state)", True),
        ("CREATE TRIGGER t AFTER INSERT ON jobs BEGIN SELECT 1; END", True),
        ("UPDATE instances SET rows = 1", True),
    ],
    ids=str,
)
def test_what_counts_as_adding(change: str, noticed: bool) -> None:
    assert bool(list(faults([change]))) == noticed


_VALUES: dict[type, Any] = {
    int: 1, str: "a text", bytes: b"bytes", bool: True, float: 1.0, datetime: datetime(2026, 1, 2, tzinfo=UTC),
}  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    sqlite = f"sqlite:///{tmp_path}/index.sqlite"
    engine = create_engine(sqlite if request.param == "sqlite" else request.getfixturevalue("database_url"))
    yield engine
    engine.dispose()


def upgraded(connection: Connection, revision: str) -> MetaData:
    """Bring the tables to a revision; returns them, without what only searches use."""
    alembic = config()
    alembic.attributes["connection"] = connection
    command.upgrade(alembic, revision)
    connection.commit()
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name != "alembic_version" and "_fts" not in name)
    return found


@pytest.mark.parametrize("revision", [REVISIONS[0], REVISIONS[-2]])
def test_rows_of_older_tables_are_there_after_an_upgrade(engine: Engine, revision: str) -> None:
    with engine.connect() as connection:
        before = upgraded(connection, revision)
        for table in before.sorted_tables:
            if connection.execute(select(table)).first() is None:  # a revision may have made the only one
                row = {column.name: _VALUES[column.type.python_type] for column in table.columns}
                connection.execute(insert(table).values(row))
        connection.commit()
        rows = {table.name: [tuple(row) for row in connection.execute(select(table))] for table in before.sorted_tables}
        after = upgraded(connection, "head")
        for table in before.sorted_tables:
            columns = [after.tables[table.name].columns[column.name] for column in table.columns]
            assert [tuple(row) for row in connection.execute(select(*columns))] == rows[table.name] or (
                table.name == "totals" and revision == "0001"  # packs are counted again
            )
