"""The sidecar of a pack: zstd-compressed NDJSON, a heading line with the pack's facts, then one line an instance.

An instance's line says where it is in the pack and what it is, and ends with its whole header in the DICOM JSON Model
(PS3.18 F.2), so that metadata is served by copying bytes and the index can be rebuilt without touching a pack.
"""

import hashlib
import io
import mmap
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import orjson
import xxhash
import zstandard

from osteon.contracts.packs import Origin, PackFacts, PackStored
from osteon.dicom.header.model import Header, HeaderProblem, PixelData
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.identity import Identity
from osteon.dicom.part10 import file_sha256, read_part10
from osteon.dicom.peek import peek_identity
from osteon.errors import Invalid
from osteon.logging import get_logger
from osteon.packs.sidecar_member import PackTail, TailWriter, without_trailer
from osteon.packs.tar import members

_HEADER_KEY: Final = b',"header":'
_LEVEL: Final = 3
"""zstd level: 9 saves another 10 % and costs three times the time."""
_COMPRESSORS: Final[deque[zstandard.ZstdCompressor]] = deque(maxlen=4)
"""Those that are free, of all threads."""

FRESH_SECONDS: Final = 60
"""For how long a pack is certain to be in memory, as it was when its bytes were hashed, and is not read from a disk."""

log = get_logger(__name__)


class _Trust(Enum):
    """Whether the digest in a member's file meta information holds without reading the bytes again."""

    YES = 1
    CHECK = 2
    NO = 3


class BadSidecar(Invalid):
    """These bytes are not a sidecar."""


class CorruptMember(Invalid):
    """A member's bytes are not those that were received: the SHA-256 in its file meta information differs."""


@dataclass(frozen=True, slots=True)
class SidecarLine:
    """One instance. `offset` and `length` in bytes are of its Part 10 file within the pack.

    `sha256` is of the data set, `xxh3` (XXH3-128) of the whole file; empty in sidecars of release 0.1.
    Offsets in `header` count from the data set's first byte, which is `dataset_offset` bytes into the file.
    """

    identity: Identity
    transfer_syntax_uid: str
    offset: int
    length: int
    dataset_offset: int
    sha256: bytes
    xxh3: bytes
    header: Header


def encode(facts: PackFacts, lines: Iterable[SidecarLine]) -> bytes:
    """Return a sidecar: the same bytes each time, whatever trace the pack is stored in."""
    out = io.BytesIO()
    _encode_to(out, facts, lines)
    return out.getvalue()


def _encode_to(out: BinaryIO, facts: PackFacts, lines: Iterable[SidecarLine]) -> None:
    # Not where the sidecar is: that is known only when it is encoded.
    heading = facts.model_dump(mode="json", include=PackFacts.model_fields.keys() - {"traceparent"})
    with _compressor() as compressor, compressor.stream_writer(out, closefd=False) as stream:
        stream.write(orjson.dumps({"pack": heading}) + b"\n")
        for line in lines:
            stream.write(_encode_line(line))


@contextmanager
def _compressor() -> Iterator[zstandard.ZstdCompressor]:
    """Lend a compressor: the memory of a new one, more than a megabyte, costs more than a small sidecar."""
    try:
        compressor = _COMPRESSORS.pop()
    except IndexError:
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    yield compressor
    _COMPRESSORS.append(compressor)


def decode(sidecar: bytes) -> tuple[PackStored, Iterator[SidecarLine]]:
    """Read a sidecar: the pack's facts, and its lines one at a time; raises `BadSidecar`.

    What follows it in its pack is passed over. The facts are those of before it was stored: without its place, and
    without it in the pack's length.
    """
    try:
        stream = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(without_trailer(sidecar)), 1 << 17)
        facts = PackStored.model_validate(orjson.loads(stream.readline())["pack"])
    except (zstandard.ZstdError, ValueError, KeyError) as error:
        raise BadSidecar(f"not a sidecar: {error}") from None
    return facts, (_decode_line(line) for line in stream)


class BuiltSidecar(NamedTuple):
    """A new sidecar; how many elements are marked as unreadable, how many headers could not be read to their end."""

    tail: PackTail
    problems: int
    unread: int


def build(path: Path, facts: PackFacts, reader: HeaderReader) -> BuiltSidecar:
    """Read a sealed pack and make its sidecar. The file is only read; it may have a sidecar already.

    Every member's SHA-256 is computed and compared with the one taken when it came in; raises `CorruptMember`, also
    when the members are not as many as `facts` says. Only what has just arrived is not read again for that: it is still
    in memory. A file that came by HTTP is kept as it is, and may hold the digest of what it was before another tool
    changed it. A member whose header cannot be read to its end is kept nevertheless, with what could be read and its
    identifiers.
    """
    end = count = problems = unread = 0
    trust = _trust(facts)
    out = TailWriter()

    def lines() -> Iterator[SidecarLine]:
        nonlocal end, count, problems, unread
        for count, member in enumerate(members(path), 1):  # noqa: B007 - how many there were
            end = member.end
            with view[member.offset : member.offset + member.length] as file:
                line = _read_member(file, member.offset, reader, trust)
            problems += len(line.header.problems)
            unread += bool(line.header.unread)
            yield line

    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        _encode_to(out, facts, lines())
    if count != facts.instances:
        raise CorruptMember(f"pack {facts.pack_id} has {count} of {facts.instances} instances")
    return BuiltSidecar(out.finish(facts.pack_id, end, int(facts.received_at.timestamp())), problems, unread)


def _trust(facts: PackFacts) -> _Trust:
    if facts.origin is Origin.HTTP:
        return _Trust.NO
    age = time.time() - facts.received_at.timestamp()
    return _Trust.YES if 0 <= age < min(FRESH_SECONDS, time.monotonic()) else _Trust.CHECK


def _read_member(file: memoryview, offset: int, reader: HeaderReader, trust: _Trust) -> SidecarLine:
    meta = read_part10(file)
    with file[meta.data_set_offset :] as dataset:
        received = None if trust is _Trust.NO else file_sha256(meta)
        digest = received if received and trust is _Trust.YES else hashlib.sha256(dataset).digest()
        if received not in (None, digest):
            raise CorruptMember(f"instance {meta.sop_instance_uid} at byte {offset} has another SHA-256 than received")
        identity = peek_identity(dataset, meta.transfer_syntax_uid, complete=True)
        assert identity is not None
        header = _read_header(dataset, meta.transfer_syntax_uid, identity, reader)
    return SidecarLine(
        identity=identity,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        offset=offset,
        length=len(file),
        dataset_offset=meta.data_set_offset,
        sha256=digest,
        xxh3=xxhash.xxh3_128(file).digest(),
        header=header,
    )


def _read_header(dataset: memoryview, transfer_syntax_uid: str, identity: Identity, reader: HeaderReader) -> Header:
    try:
        return reader.read(dataset, transfer_syntax_uid)
    except Invalid as error:
        fault = str(error)
    except Exception as error:  # our own fault: it must not hide this instance and all others of the pack
        log.exception("header not read", instance=identity.sop_uid)
        json = b"{" + b",".join(_identifiers(identity)) + b"}"
        return Header(json, unread=f"{type(error).__name__}: {error}")
    # The error has gone, and with it what was inflated up to the fault.
    log.error("header not read to its end", instance=identity.sop_uid, error=fault)
    header = reader.read_beginning(dataset, transfer_syntax_uid, _identifiers(identity))
    return replace(header, unread=fault)


def _identifiers(identity: Identity) -> list[bytes]:
    """Return the identifiers as elements in JSON, in the order of their tags."""
    values = {
        "00080016": ("UI", identity.sop_class_uid),
        "00080018": ("UI", identity.sop_uid),
        "00100020": ("LO", identity.patient_id),
        "0020000D": ("UI", identity.study_uid),
        "0020000E": ("UI", identity.series_uid),
    }
    return [
        b'"%b":%b' % (tag.encode(), orjson.dumps({"vr": vr, "Value": [value]}))
        for tag, (vr, value) in values.items()
        if value
    ]


def _encode_line(line: SidecarLine) -> bytes:
    identity, header = line.identity, line.header
    fields: dict[str, Any] = {
        "patient": identity.patient_id,
        "study": identity.study_uid,
        "series": identity.series_uid,
        "instance": identity.sop_uid,
        "class": identity.sop_class_uid,
        "syntax": line.transfer_syntax_uid,
        "offset": line.offset,
        "length": line.length,
        "dataset": line.dataset_offset,
        "sha256": line.sha256.hex(),
        "xxh3": line.xxh3.hex(),
        "pixels": header.pixel_data,
        "bulk": header.bulk,
        "problems": header.problems,
    }
    if header.unread:
        fields["unread"] = header.unread
    return orjson.dumps(fields)[:-1] + _HEADER_KEY + header.json + b"}\n"


def _decode_line(raw: bytes) -> SidecarLine:
    # No JSON string can hold the key's unescaped quotes, so its first occurrence is the key.
    front, found, header = raw.rstrip(b"\n").partition(_HEADER_KEY)
    if not found:
        raise BadSidecar(f"a sidecar line has no header: {raw[:80]!r}")
    fields = orjson.loads(front + b"}")
    pixels = fields["pixels"]
    return SidecarLine(
        identity=Identity(
            patient_id=fields["patient"],
            study_uid=fields["study"],
            series_uid=fields["series"],
            sop_uid=fields["instance"],
            sop_class_uid=fields["class"],
        ),
        transfer_syntax_uid=fields["syntax"],
        offset=fields["offset"],
        length=fields["length"],
        dataset_offset=fields["dataset"],
        sha256=bytes.fromhex(fields["sha256"]),
        xxh3=bytes.fromhex(fields.get("xxh3", "")),
        header=Header(
            json=header[:-1],
            pixel_data=pixels and _decode_pixels(pixels),
            bulk={path: (offset, length) for path, (offset, length) in fields["bulk"].items()},
            problems=tuple(HeaderProblem(problem["path"], problem["reason"]) for problem in fields["problems"]),
            unread=fields.get("unread", ""),
        ),
    )


def _decode_pixels(fields: dict[str, Any]) -> PixelData:
    # By name: fields that a newer release adds are ignored.
    return PixelData(
        tag=fields["tag"],
        offset=fields["offset"],
        length=fields["length"],
        encapsulated=fields["encapsulated"],
        frames=tuple((offset, length) for offset, length in fields["frames"]),
        problem=fields.get("problem", ""),
    )
