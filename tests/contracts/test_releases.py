"""Two releases that follow each other understand each other while one takes the other's place (docs/upgrade.md).

What the releases before this one write was written down by `tests/support/contracts/releases.py`, one folder a
release, which is never changed again; that of the release that is being made is written again when it changes.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from pydantic import BaseModel

from osteon.bus.envelope import Envelope, decode
from osteon.contracts.base import Message
from osteon.contracts.packs import PackStored
from osteon.dicom.header.model import HeaderProblem
from osteon.dicom.part10 import read_part10
from osteon.objects.folder import FolderObjects
from osteon.packs import sidecar
from osteon.packs.index_entries import find_stored_pack, read_stored_pack
from osteon.packs.sidecar_member import sidecar_offset, without_trailer
from osteon.packs.tar import members
from osteon.spool.disk import Disk
from osteon.spool.paths import OPEN, SEALED
from osteon.spool.recovery import recover
from support.contracts import releases
from support.packs.sealed_packs import separate_sidecar

HERE = Path(__file__).parent
RELEASES = sorted(path.name for path in HERE.iterdir() if (path / "messages.json").exists())
GONE: dict[str, str] = {}
"""Message that is not written any more → why no release that is still in use sends it."""
each_release = pytest.mark.parametrize("release", RELEASES)


@cache
def recorded(release: str) -> dict[str, Any]:
    return dict(orjson.loads((HERE / release / "messages.json").read_bytes()))


def objects(release: str) -> tuple[Path, bytes]:
    """Return a pack and the bytes of its sidecar."""
    (pack,) = (HERE / release).glob("*.tar")
    if release == "0.1.0":
        return pack, pack.with_suffix(".meta").read_bytes()
    whole = pack.read_bytes()
    return pack, bytes(without_trailer(whole[sidecar_offset(whole, len(whole)) :]))


def read(name: str, content: dict[str, Any]) -> BaseModel:
    model = releases.models()[name]
    if issubclass(model, Message):
        return decode(Envelope(name, orjson.dumps(content), content["correlation_id"]), model)
    return model.model_validate(content)


def overlap(old: Any, new: Any) -> Any:
    """Return `old` without the fields that `new` does not have."""
    if isinstance(old, dict):
        return {key: overlap(value, new[key]) for key, value in old.items() if key in new}
    return [overlap(*pair) for pair in zip(old, new, strict=True)] if isinstance(old, list) else old


@each_release
def test_every_message_of_a_release_before_is_understood(release: str) -> None:
    written = recorded(release)["messages"]
    assert len(written) > 30
    assert written.keys() - GONE.keys() <= releases.models().keys(), "it may still be in a queue, or in the spool"
    for name in written.keys() - GONE.keys():
        for content in written[name]:
            again = orjson.loads(read(name, content).model_dump_json())
            assert overlap(content, again) == overlap(again, content), name


@each_release
def test_a_release_before_refuses_no_message_of_this_one(release: str) -> None:
    known = recorded(release)["schemas"]
    wrong = {
        name: releases.refusals(known[name], releases.schema(model, "serialization"))
        for name, model in releases.models().items()
        if name in known
    }
    assert {name: found for name, found in wrong.items() if found} == {}


@pytest.mark.parametrize("name", sorted(releases.models()))
def test_fields_of_a_later_release_are_passed_over(name: str) -> None:
    model = releases.models()[name]
    later = releases.example_of_later(model)
    assert releases.NEWER.items() <= later.items()
    assert read(name, later) == read(name, releases.example(model, full=True))


@each_release
def test_queues_keep_their_arguments_and_what_travels_on_them(release: str) -> None:
    """RabbitMQ refuses a queue with other arguments; a change needs a queue of another name."""
    for what, now in (("queues", releases.queues()), ("routing", releases.routing())):
        before = recorded(release)[what]
        assert {name: now[name] for name in before.keys() & now.keys()} == {
            name: before[name] for name in before.keys() & now.keys()
        }


@each_release
def test_packs_and_sidecars_of_a_release_before_are_read(release: str) -> None:
    pack, data = objects(release)
    whole, found = pack.read_bytes(), read_stored_pack(data)
    assert (found.facts.pack_id, found.facts.key[-9:]) == (pack.stem, "00001.tar")
    assert [member.name for member in members(pack)] == [f"{entry.identity.sop_uid}.dcm" for entry in found.instances]
    for entry in found.instances:
        file = whole[entry.offset : entry.offset + entry.length]
        data_set = file[read_part10(file).data_set_offset :]
        assert hashlib.sha256(data_set).digest() == entry.sha256
        assert entry.attributes["OperatorsName"] == "Müller^Jörg"


@each_release
async def test_a_pack_of_a_release_before_is_found_with_its_sidecar(release: str, tmp_path: Path) -> None:
    pack, data = objects(release)
    store, key = FolderObjects(tmp_path), f"1.2/1.3/{pack.name}"
    await store.put_file(key, pack)
    if release == "0.1.0":
        await store.put(key.replace(".tar", ".meta"), data)
    found = await find_stored_pack(key, pack.stat().st_size, store)
    assert (found.facts.size, found.instances) == (pack.stat().st_size, read_stored_pack(data).instances)
    assert (found.facts.sidecar_offset is None) == (release == "0.1.0")


@each_release
@pytest.mark.parametrize("ending", [SEALED, OPEN], ids=["sealed", "open"])
def test_a_spool_of_a_release_before_is_taken_over(release: str, ending: str, tmp_path: Path) -> None:
    pack, _ = objects(release)
    whole = pack.read_bytes()
    left = tmp_path / "folder" / f"{pack.stem}{ending}"
    left.parent.mkdir()
    *_, last = members(pack)
    left.write_bytes(whole if ending == SEALED else whole[: last.end].rstrip(b"\0") + b"\0" * 100)
    found = recover(left, tmp_path, Disk()).pack
    assert found is not None
    assert found.instances == (2 if ending == SEALED else 1), "the last one was cut"
    assert (tmp_path / found.path).exists()


@each_release
def test_a_sidecar_tells_what_the_release_before_reads(release: str) -> None:
    pack, data = objects(release)
    facts, _ = sidecar.decode(data)
    before, now = lines_of(data), lines_of(separate_sidecar(pack, facts))
    reread = PackStored.model_validate(now[0]["pack"])
    assert (reread, len(now)) == (facts, len(before))
    for old, new in zip(before[1:], now[1:], strict=True):
        assert overlap(old, new) == old


def test_what_a_later_release_adds_to_a_sidecar_is_passed_over() -> None:
    _, data = objects(RELEASES[-1])
    heading, *lines = lines_of(data)
    problem = {"path": "00100010", "reason": "bad"}
    written = [
        line | {"problems": [problem | releases.NEWER], "pixels": line["pixels"] | releases.NEWER} for line in lines
    ]
    # The header is always last.
    later = [{"pack": heading["pack"] | releases.NEWER}, *(releases.NEWER | line for line in written)]
    facts, found = sidecar.decode(zstandard.compress(b"".join(orjson.dumps(line) + b"\n" for line in later)))
    assert facts == sidecar.decode(data)[0]
    for line, before in zip(found, sidecar.decode(data)[1], strict=True):
        assert (line.identity, line.header.pixel_data) == (before.identity, before.header.pixel_data)
        assert line.header.problems == (HeaderProblem(**problem),)


def lines_of(data: bytes) -> list[dict[str, Any]]:
    whole = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return [orjson.loads(line) for line in whole.splitlines()]


def test_a_change_that_the_release_before_does_not_understand_is_noticed() -> None:
    reader = releases.schema(releases.models()["PackSealed"])
    changes: list[tuple[dict[str, Any], str]] = [
        ({"size": {"type": "string"}}, ".size: string where integer is read"),
        ({"origin": {"type": "string", "enum": ["dimse", "email"]}}, ".origin: one of ['dimse', 'email']"),
        ({"instances": {"type": "integer", "minimum": 0}}, ".instances: minimum is 1"),
        ({"calling_aet": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, ".calling_aet: null where string"),
        ({"received_at": {"type": "string"}}, ".received_at: None where date-time is read"),
        ({"remote_host": None}, ""),
        ({"path": None}, ".path: is not written"),
        ({"more": {"type": "string"}}, ""),
    ]
    for change, expected in changes:
        properties = {key: value for key, value in (reader["properties"] | change).items() if value}
        found = releases.refusals(reader, {**reader, "properties": properties})
        assert [text for text in found if not text.startswith(expected)] == [], change
        assert bool(found) == bool(expected), change


def test_the_recorded_bytes_are_base64_as_every_release_writes_them() -> None:
    for release in RELEASES:
        planned = recorded(release)["messages"]["RetrievePlanReply"][0]["instances"][0]["sha256"]
        assert base64.b64decode(planned, validate=True) == b"osteon"
