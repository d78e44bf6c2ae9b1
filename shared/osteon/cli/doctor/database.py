"""Probe of the index: PostgreSQL, or standalone's SQLite file."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from datetime import UTC
from pathlib import Path
from typing import Final

from osteon.cli.doctor.report import Findings
from osteon.errors import OsteonError
from osteon.index.inspection import Inspection, Server
from osteon.index.migrate import Tables
from osteon.settings import IndexSettings, StandaloneSettings

_SENDERS: Final = 5
"""Of the last ones, in the report."""
OLDEST: Final = 13_00_00
TESTED: Final = 15_00_00
SKEW: Final = 5.0
"""Seconds that clocks may differ."""
_SQLITE: Final = (3, 34)
"""Has the full-text search by trigrams."""
_URL: Final = "OSTEON_DATABASE_URL"
_RIGHTS: Final = "GRANT CREATE, USAGE ON SCHEMA public TO the user of OSTEON_DATABASE_URL"
_CONNECT: Final = {
    "password authentication failed": f"Put the user and the password of the database into {_URL}.",
    "no password supplied": f"Put the password into {_URL}: postgresql+psycopg://user:password@host:port/name",
    "does not exist": f"Make the database and its user (createuser, createdb -O user name), or correct {_URL}.",
    "no pg_hba.conf entry": "Allow this host in the server's pg_hba.conf, or add ?sslmode=require to the URL.",
    "too many clients": "Raise max_connections of the server, or lower OSTEON_DATABASE_POOL.",
    "refused": f"Start PostgreSQL, or correct host and port in {_URL}.",
    "resolve": f"Correct the host in {_URL}.",
}


def check(settings: IndexSettings, findings: Findings) -> None:
    """Check login, version, durability and tables of a cluster's database."""
    url = settings.database_url.get_secret_value()
    asyncio.run(_inspected(url, lambda inspection: _check(inspection, settings, findings)))


def check_file(settings: StandaloneSettings, findings: Findings) -> None:
    """Check the SQLite file of a standalone Osteon, which its first start creates."""
    if sqlite3.sqlite_version_info < _SQLITE:
        findings.fail(
            f"SQLite {sqlite3.sqlite_version} has no search by trigrams", "Use a Python with SQLite 3.34 or newer."
        )
        return
    file = settings.data / "index.sqlite"
    findings.doing = f"reading {file}"
    if not file.exists():
        findings.ok(f"SQLite {sqlite3.sqlite_version}; {file} is created at the first start")
    elif _may_write(file, findings):
        findings.ok(f"SQLite {sqlite3.sqlite_version}")
        asyncio.run(_inspected(f"sqlite+aiosqlite:///{file}", lambda inspection: _check_tables(inspection, findings)))


def _may_write(file: Path, findings: Findings) -> bool:
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        return True
    findings.fail(
        f"{file} cannot be written", f"chown or chmod it and its folder for user {os.geteuid()}, or remount it."
    )
    return False


async def _inspected(url: str, check: Callable[[Inspection], Awaitable[None]]) -> None:
    inspection = Inspection(url)
    try:
        await check(inspection)
    finally:
        await inspection.close()


async def _check(inspection: Inspection, settings: IndexSettings, findings: Findings) -> None:
    findings.doing = "connecting"
    try:
        server = await inspection.server()
    except OsteonError as error:
        text = str(error)
        fix = next((fix for sign, fix in _CONNECT.items() if sign in text), f"Check {_URL}, and the server's log.")
        findings.fail(f"no connection: {text}", fix)
        return
    _check_server(server, settings, findings)
    if not server.read_only:
        await _check_tables(inspection, findings)


async def _check_tables(inspection: Inspection, findings: Findings) -> None:
    findings.doing = "reading the tables' revision"
    match await inspection.tables():
        case Tables.CURRENT:
            findings.ok("the tables are up to date")
            for sender in await inspection.senders(_SENDERS):
                findings.ok(
                    f"last received from {sender.calling_aet or 'HTTP'} ({sender.remote_host}): "
                    f"{sender.last_received.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {sender.instances} instances in all"
                )
        case Tables.NONE:
            findings.warn(
                "there are no tables yet", "Start indexer or query (or standalone): the first to start creates them."
            )
        case Tables.OLDER:
            findings.warn(
                "the tables are of an older release", "Make a backup; the next indexer or query upgrades them."
            )
        case Tables.NEWER:
            findings.fail(
                "the tables are of a newer release", "Run that release, or restore the backup made before it."
            )
    findings.doing = "writing a table, which is rolled back"
    try:
        await inspection.write()
        findings.ok("can be written")
    except OsteonError as error:
        findings.fail(f"cannot be written: {error}", f"{_RIGHTS}; if the disk is full, free space.")


def _check_server(server: Server, settings: IndexSettings, findings: Findings) -> None:
    if server.number < OLDEST:
        findings.fail(f"PostgreSQL {server.version} is too old", "Use 15 or newer.")
    elif server.number < TESTED:
        findings.warn(f"PostgreSQL {server.version} is not tested with Osteon", "Use 15 or newer.")
    else:
        findings.ok(f"PostgreSQL {server.version}")
    if server.encoding != "UTF8":
        findings.fail(
            f"the database's encoding is {server.encoding}", "createdb -E UTF8 -T template0 …, then `osteon reindex`"
        )
    if server.read_only:
        findings.fail(
            "the server is read-only", f"Let {_URL} lead to the primary, or set default_transaction_read_only off."
        )
    if not server.syncs:
        findings.fail(
            "fsync or full_page_writes is off: a power failure corrupts the index", "Switch both on in postgresql.conf."
        )
    if not server.waits_for_sync:
        findings.warn(
            "synchronous_commit is off: the newest rows are lost in a crash", "Switch it on in postgresql.conf."
        )
    if not server.trigrams and not server.trigrams_available:
        findings.warn(
            "pg_trgm is missing: searches by *x* scan the table",
            "apt-get install postgresql-contrib, before the first start",
        )
    if server.free_connections < settings.database_pool:
        findings.warn(
            f"{server.free_connections} connections are free, one process needs {settings.database_pool}",
            "Raise max_connections of the server, or lower OSTEON_DATABASE_POOL.",
        )
    skew = abs(server.clock - time.time())
    if skew > SKEW:
        findings.warn(f"its clock and this host's differ by {skew:.0f} s", "Run a time service (chrony) on both.")
