"""The settings file of modalities and peers."""

from pathlib import Path

import pytest

from osteon.index.sql import SqlIndex
from osteon.remotes.file import BadRemotesFile, add_missing, read_file
from osteon.remotes.port import Permission
from support.index.stored_packs import sqlite_url

YAML = """\
modalities:
  ct-1: {AET: CT1, Host: 10.0.0.7, Port: 104, AllowFind: false}
  sink: [SINK, 127.0.0.1, 11299]
peers:
  cloud: [https://cloud.example.org/, user, secret]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "remotes.yaml"
    path.write_text(text)
    return path


def test_yaml_and_json_are_read(tmp_path):
    modalities, peers = read_file(written(tmp_path, YAML))
    assert [(m.name, m.aet, m.port) for m in modalities] == [("ct-1", "CT1", 104), ("sink", "SINK", 11299)]
    assert modalities[0].permissions == set(Permission) - {Permission.FIND}
    assert (peers[0].name, peers[0].password) == ("cloud", "secret")
    assert read_file(written(tmp_path, '{"modalities": {"a": ["A", "h", 1]}}'))[0][0].aet == "A"
    assert read_file(written(tmp_path, "")) == ([], [])
    assert read_file(written(tmp_path, "peers:\n")) == ([], [])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("modalities:\n  a: [A, h, 1]\n  b: [B, h, 99999]\n", ("line 3", "b", "Port")),
        ("modalities:\n  a: {AET: 815, Host: h, Port: 1}\n", ("line 2", "AET", "815")),
        ("modalities:\n  a: [A, h, 1]\n  a: [A, h, 2]\n", ("line 3", "'a'", "line 2")),
        ("modality:\n  a: [A, h, 1]\n", ("line 1", "modality", "modalities or peers")),
        ("peers:\n  p: [ftp://x/]\n", ("line 2", "Url")),
        ("modalities: [A, h, 1]\n", ("line 1", "names")),
        ("modalities:\n\ta: 1\n", ("line 2",)),
        ("modalities:\n  a: !!python/object:os.system [x]\n", ("line 2",)),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, named):
    with pytest.raises(BadRemotesFile) as caught:
        read_file(written(tmp_path, text))
    assert all(word in str(caught.value) for word in named), str(caught.value)


def test_a_file_that_is_not_there_is_named_with_its_setting(tmp_path):
    with pytest.raises(BadRemotesFile, match="OSTEON_REMOTES_FILE"):
        read_file(tmp_path / "none.yaml")


def test_no_error_shows_a_password(tmp_path):
    with pytest.raises(BadRemotesFile) as caught:
        read_file(written(tmp_path, 'peers:\n  p: ["http://x/", user, {secret: secret}]\n'))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    ['p: ["http://x/", user, secret', "p: [http://user:secret@x:99999/]", "p: [ftp://user:secret@x/]",
     'p: ["http://x/", user, !!python/name:secret x]', "p: {Url: [secret]}"],
)  # fmt: skip
def test_no_mistake_shows_the_line_with_a_password(tmp_path, entry):
    with pytest.raises(BadRemotesFile, match=r"line [23]") as caught:
        read_file(written(tmp_path, f"peers:\n  {entry}\n"))
    assert "secret" not in str(caught.value) or "python/name:secret" in str(caught.value)


@pytest.mark.parametrize("section", ["modalities: {a: {AET: A, Host: h, Port: 1", "peers: {p: {Url: 'http://x/'"])
def test_a_field_that_is_not_known_stops_the_start(tmp_path, section):
    with pytest.raises(BadRemotesFile, match="AlowEcho: unknown field"):
        read_file(written(tmp_path, section + ", AlowEcho: true}}"))


async def test_the_index_is_filled_with_what_it_does_not_have(tmp_path):
    index = SqlIndex(sqlite_url(tmp_path / "index.db"))
    await index.start()
    modalities, peers = read_file(written(tmp_path, YAML))
    await add_missing(index.remotes, modalities, peers)
    changed = read_file(written(tmp_path, YAML.replace("11299", "11300") + "  new: [http://new/]\n"))
    await add_missing(index.remotes, *changed)
    assert (await index.remotes.modality("sink")).port == 11299
    assert [peer.name for peer in await index.remotes.peers()] == ["cloud", "new"]
    await index.close()
