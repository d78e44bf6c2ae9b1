"""Migrations expand: the release before goes on reading and writing while and after they run (docs/upgrade.md)."""

import re
from collections.abc import Iterator
from functools import cache

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event

from osteon.index.migrate import config

EXCEPTIONS: dict[str, str] = {}
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
