"""What a release writes where another one reads it: messages, orders of jobs, queues, a pack and its sidecar.

    python tests/support/contracts/releases.py tests/contracts/0.2.0

writes it down for the release that is made (docs/upgrade.md). `tests/contracts/test_releases.py` compares.
"""

import base64
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from pydantic import BaseModel

from osteon.bus.rabbit_queues import dead_queue_arguments, rpc_queue_arguments, work_queue_arguments
from osteon.contracts import topology
from osteon.contracts.conflicts import ConflictDecided
from osteon.contracts.packs import Origin, PackStored
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from osteon.packs import sidecar
from osteon.remotes.job_params import JobParams
from osteon.spool.disk import Disk
from osteon.spool.incoming_instance import IncomingInstance
from osteon.spool.open_packs import OpenPacks, PackLimits, PackSender
from osteon.spool.paths import OPEN, SEALED
from osteon.spool.recovery import recover
from osteon_dispatcher import job_types as _  # noqa: F401  (defines the parameters of the dispatcher's jobs)

Schema = dict[str, Any]
NEWER = {"this_came_with_a_later_release": {"and": ["has", 1, None]}}
_TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_LEFT_OUT = ("description", "title", "default")


def models() -> dict[str, type[BaseModel]]:
    """Return what is written as JSON and read by another process, by its name."""
    orders = {f"order {kind.TYPE}": kind for kind in _orders(JobParams)}
    return {**topology.MESSAGES, "ConflictDecided": ConflictDecided, **orders}


def _orders(base: type[JobParams]) -> Iterator[type[JobParams]]:
    for kind in base.__subclasses__():
        if "TYPE" in vars(kind):
            yield kind
        yield from _orders(kind)


def queues() -> dict[str, dict[str, Any]]:
    """Return the arguments of each queue by its name; RabbitMQ refuses a queue with others."""
    known = [topology.writer_queue("spool"), *(v for v in vars(topology).values() if isinstance(v, topology.Queue))]
    found: dict[str, dict[str, Any]] = {}
    for queue in known:
        found |= work_queue_arguments(queue, topology.RETRY_DELAYS_MS)
    for rpc in (value for value in vars(topology).values() if isinstance(value, topology.RpcQueue)):
        found |= rpc_queue_arguments(rpc)
    return found | dead_queue_arguments()


def routing() -> dict[str, list[str]]:
    """Return what travels on each queue: routing key and message, or request and reply."""
    known = [topology.writer_queue("spool"), *vars(topology).values()]
    found = {
        queue.name: [queue.routing_key, queue.message.__name__] for queue in known if isinstance(queue, topology.Queue)
    }
    rpcs = [value for value in known if isinstance(value, topology.RpcQueue)]
    return found | {rpc.name: [rpc.request.__name__, rpc.reply.__name__] for rpc in rpcs}


def schema(model: type[BaseModel], mode: Any = "validation") -> Schema:
    """Return the JSON Schema of a model, without what is for people."""
    return _bare(model.model_json_schema(mode=mode))


def _bare(part: Any) -> Any:
    if isinstance(part, list):
        return [_bare(each) for each in part]
    if not isinstance(part, dict):
        return part
    names = part.get("properties")
    return {
        key: {name: _bare(value) for name, value in names.items()} if key == "properties" else _bare(value)
        for key, value in part.items()
        if key not in _LEFT_OUT
    }


def example(model: type[BaseModel], *, full: bool) -> dict[str, Any]:
    """Return what such a message is as JSON: with a value in each field, or only in those that need one."""
    found = _Example(schema(model), full=full).content()
    return dict(orjson.loads(model.model_validate_json(orjson.dumps(found)).model_dump_json()))


def example_of_later(model: type[BaseModel]) -> dict[str, Any]:
    """Return the full example as a later release might write it: with a field more at every depth."""
    return _Example(schema(model), full=True, more=NEWER).content()


class _Example:
    """Makes JSON that follows a schema; `more` goes into every object that is not a map with keys of any kind."""

    def __init__(self, root: Schema, *, full: bool, more: dict[str, Any] | None = None) -> None:
        self._root, self._full, self._more = root, full, more or {}

    def content(self) -> dict[str, Any]:
        return dict(self._value("", self._root))

    def _value(self, name: str, part: Schema) -> Any:
        part = _resolved(part, self._root.get("$defs", {}))
        if "anyOf" in part:
            return self._value(name, next(each for each in part["anyOf"] if each.get("type") != "null"))
        if "enum" in part:
            return part["enum"][-1]
        match part.get("type"):
            case "object":
                return self._object(name, part)
            case "array":
                items = part.get("prefixItems") or [part.get("items", {"type": "string"})]
                return [self._value(name, each) for each in items]
            case "integer" | "number":
                return max(part.get("minimum", 1), 1)
            case "boolean":
                return True
            case _:
                times = {"date-time": _TIME.isoformat(), "base64url": base64.b64encode(b"osteon").decode()}
                return times.get(part.get("format", ""), f"a {name}")

    def _object(self, name: str, part: Schema) -> dict[str, Any]:
        if "properties" not in part:
            more = part.get("additionalProperties", {})
            return {f"key of {name}": self._value(name, {} if more is True else more)}  # True: any value
        chosen = part["properties"] if self._full else part.get("required", [])
        return {each: self._value(each, part["properties"][each]) for each in chosen} | self._more


def refusals(reader: Schema, writer: Schema) -> list[str]:
    """Return why a reader of one release would refuse, or misread, what the other release writes."""
    return list(_refusals("", reader, writer, reader.get("$defs", {}), writer.get("$defs", {})))


def _refusals(place: str, reader: Schema, writer: Schema, known: Schema, new: Schema) -> Iterator[str]:
    reader, writer = _resolved(reader, known), _resolved(writer, new)
    if "anyOf" in writer:
        for each in writer["anyOf"]:
            yield from _refusals(place, reader, each, known, new)
        return
    if "anyOf" in reader:
        tried = [list(_refusals(place, each, writer, known, new)) for each in reader["anyOf"]]
        if all(tried):
            yield min(tried, key=len)[0]
        return
    kinds = {reader.get("type"), writer.get("type")}
    if len(kinds) > 1 and (reader.get("type"), writer.get("type")) != ("number", "integer") and reader.get("type"):
        yield f"{place}: {writer.get('type')} where {reader.get('type')} is read"
        return
    yield from _narrower(place, reader, writer)
    maps = [part.get("additionalProperties") for part in (reader, writer)]
    if all(isinstance(each, dict) for each in maps):
        yield from _refusals(f"{place}{{}}", *maps, known, new)
    for name, part in reader.get("properties", {}).items():
        if name in writer.get("properties", {}):
            yield from _refusals(f"{place}.{name}", part, writer["properties"][name], known, new)
        elif name in reader.get("required", ()):
            yield f"{place}.{name}: is not written"
    if "prefixItems" in reader or "prefixItems" in writer:
        read, written = reader.get("prefixItems", []), writer.get("prefixItems", [])
        if len(read) != len(written):
            yield f"{place}: {len(written)} items where {len(read)} are read"
        for number, (one, other) in enumerate(zip(read, written, strict=False)):
            yield from _refusals(f"{place}[{number}]", one, other, known, new)
    elif "items" in reader and "items" in writer:
        yield from _refusals(f"{place}[]", reader["items"], writer["items"], known, new)


def _resolved(part: Schema, definitions: Schema) -> Schema:
    return definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def _narrower(place: str, reader: Schema, writer: Schema) -> Iterator[str]:
    if reader.get("additionalProperties") is False:
        yield f"{place}: further fields are refused"
    if "enum" in reader and not set(writer.get("enum", [None])) <= set(reader["enum"]):
        yield f"{place}: one of {writer.get('enum')} where {reader['enum']} are read"
    if reader.get("format") != writer.get("format"):
        yield f"{place}: {writer.get('format')} where {reader.get('format')} is read"
    for limit, sign in (("minimum", 1), ("exclusiveMinimum", 1), ("maximum", -1), ("maxLength", -1), ("minLength", 1)):
        if limit in reader and sign * writer.get(limit, -sign * float("inf")) < sign * reader[limit]:
            yield f"{place}: {limit} is {reader[limit]} where it is read"


def write(folder: Path) -> None:
    """Write down what this release writes."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        "messages": {
            name: [example(model, full=full) for full in (True, False)] for name, model in sorted(models().items())
        },
        "schemas": {name: schema(model) for name, model in sorted(models().items())},
        "queues": queues(),
        "routing": routing(),
    }
    (folder / "messages.json").write_bytes(orjson.dumps(written, option=orjson.OPT_INDENT_2) + b"\n")
    write_objects(folder)


def write_objects(folder: Path) -> None:
    """Write a pack of two instances, as `ingress` seals it after a crash and `writer` stores it."""
    # Not at the top: they are of no use to those who only compare.
    from support.dicom.datasets import ct_slice
    from support.dicom.real_files import dataset_bytes
    from support.packs.sealed_packs import part10

    study, series, pack_id = "1.2.840.99999.1", "1.2.840.99999.1.1", "019b7d1e02887000a000000000000001"
    pixels = {"Rows": 4, "Columns": 4, "PixelData": bytes(range(32)), "OperatorsName": "Müller^Jörg"}
    slices = [ct_slice(study=study, series=series, number=n, SOPInstanceUID=f"{series}.{n}", **pixels) for n in (1, 2)]
    with TemporaryDirectory() as spool:
        root = Path(spool)
        packs = OpenPacks(root, root, PackSender("a1", "SCANNER", "192.0.2.7"), PackLimits(1 << 30, 60.0), Disk())
        for each in slices:
            at = int(_TIME.timestamp())
            announced = IncomingInstance(
                each.SOPClassUID, each.SOPInstanceUID, EXPLICIT_VR_LITTLE_ENDIAN, "SCANNER", at
            )
            packs.append(announced, dataset_bytes(part10(each)))
        packs.commit()
        (left,) = root.glob(f"*{OPEN}")
        sealed = recover(left.rename(root / f"{pack_id}{OPEN}"), root, Disk()).pack
        assert sealed is not None
        pack = folder / f"{pack_id}{SEALED}"
        pack.write_bytes((root / sealed.path).read_bytes())
    facts = PackStored(
        correlation_id="recorded", pack_id=pack_id, study_uid=study, series_uid=series, origin=Origin.DIMSE,
        calling_aet="SCANNER", received_at=_TIME, instances=sealed.instances, size=sealed.size,
    )  # fmt: skip
    tail = sidecar.build(pack, facts, HeaderReader()).tail
    pack.write_bytes(pack.read_bytes()[: tail.start] + tail.data)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    write(Path(sys.argv[1]))
