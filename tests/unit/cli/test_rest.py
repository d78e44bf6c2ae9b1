"""`osteon modalities`, `peers`, `rules` and `jobs`, against the routes that they call."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from osteon import logging
from osteon.cli import jobs, remotes, rules
from osteon.runtime import http_server
from osteon_local.part import free_port
from support.dicom.datasets import ct_slice
from support.query.application import RunningQuery, door

logging.setup("query", level="ERROR")  # its log goes to the same standard output
Osteon = Callable[..., Awaitable[Result]]
COMMANDS = typer.Typer()
for name, commands in (
    ("modalities", remotes.modalities), ("peers", remotes.peers), ("rules", rules.app), ("jobs", jobs.app)
):  # fmt: skip
    COMMANDS.add_typer(commands, name=name)
COMMANDS.command()(remotes.senders)


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[RunningQuery]:
    async with door(tmp_path) as running:
        yield running


@pytest.fixture
async def osteon(archive: RunningQuery, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Osteon]:
    async with http_server(archive.app, "127.0.0.1", 0) as port:
        monkeypatch.setenv("OSTEON_HTTP_PORT", str(port))

        async def run(*words: str, given: str = "") -> Result:
            return await asyncio.to_thread(CliRunner().invoke, COMMANDS, words, input=given)

        yield run


async def test_a_modality_is_added_listed_and_removed(osteon: Osteon) -> None:
    assert (await osteon("modalities", "list")).stdout == "The archive knows no modality.\n"
    added = await osteon("modalities", "add", "ct 1", "CT_SCANNER", "ct.example.org:104")
    assert (added.exit_code, added.stdout) == (0, "ct 1: CT_SCANNER at ct.example.org:104\n")
    found = json.loads((await osteon("modalities", "list", "--json")).stdout)
    assert {key: found["ct 1"][key] for key in ("AET", "Host", "Port")} == {
        "AET": "CT_SCANNER", "Host": "ct.example.org", "Port": 104
    }  # fmt: skip
    assert "CT_SCANNER" in (await osteon("modalities", "list")).stdout
    assert (await osteon("modalities", "remove", "ct 1")).exit_code == 0
    assert json.loads((await osteon("modalities", "list", "--json")).stdout) == {}


async def test_what_the_archive_refuses_is_said_in_its_words(osteon: Osteon) -> None:
    refused = await osteon("modalities", "remove", "nobody")
    assert refused.exit_code == 1
    assert "nobody" in refused.stderr
    usage = await osteon("modalities", "add", "ct", "CT", "ct.example.org:99999")
    assert usage.exit_code == 2
    assert "99999 is not a port" in usage.stderr


async def test_the_password_of_a_peer_is_neither_an_argument_nor_shown(osteon: Osteon) -> None:
    added = await osteon("peers", "add", "backup", "https://backup.example.org", "--user", "u", given="secret\n")
    assert added.exit_code == 0
    listed = await osteon("peers", "list", "--json")
    assert json.loads(listed.stdout)["backup"]["Username"] == "u"
    assert "secret" not in listed.stdout + added.stdout
    assert (await osteon("peers", "remove", "backup")).exit_code == 0
    assert (await osteon("peers", "list")).stdout == "The archive knows no peer.\n"


async def test_the_rules_of_a_file_are_added_listed_and_removed(osteon: Osteon, tmp_path: Path) -> None:
    await osteon("modalities", "add", "pacs", "PACS", "pacs.example.org:104")
    file = tmp_path / "rules.yaml"
    file.write_text("rules:\n  all:\n    when: study\n    send: [{modality: pacs}]\n")
    added = await osteon("rules", "add", str(file))
    assert (added.exit_code, added.stdout) == (0, "all added\n"), added.output
    assert "modality pacs" in (await osteon("rules", "list")).stdout
    assert json.loads((await osteon("rules", "list", "--json")).stdout)["all"]["when"] == "study"
    assert (await osteon("rules", "remove", "all")).exit_code == 0
    assert (await osteon("rules", "list")).stdout == "The archive has no rule.\n"


async def test_a_job_is_listed_by_its_state_and_forgotten(osteon: Osteon) -> None:
    assert (await osteon("jobs", "list")).stdout == "No job.\n"
    unknown = await osteon("jobs", "cancel", "0f0f")
    assert unknown.exit_code == 1
    assert "0f0f" in unknown.stderr


async def test_who_sent_what_is_listed(archive: RunningQuery, osteon: Osteon) -> None:
    assert (await osteon("senders")).stdout == "Nothing was received yet.\n"
    await archive.stow(ct_slice(), ct_slice())
    (sender,) = json.loads((await osteon("senders", "--json")).stdout)
    assert (sender["CallingAet"], sender["CountInstances"]) == ("", 2)
    assert "(HTTP)" in (await osteon("senders")).stdout


async def test_an_archive_that_is_not_there_is_said_with_its_address(
    osteon: Osteon, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    silent = await osteon("jobs", "list", "--url", f"http://127.0.0.1:{port}")
    assert silent.exit_code == 2
    assert f"no answer from http://127.0.0.1:{port}" in silent.stderr
