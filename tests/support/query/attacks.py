"""Requests that are made to cost much: each is small beside what it would take to obey it."""

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from osteon.dicom.part10 import write_part10_header
from support.dicom.elements import explicit
from support.spool.instances import CT, data_set

STOW = "/dicom-web/studies"
DICOM, JSON, XML = "application/dicom", "application/dicom+json", "application/dicom+xml"
MB = 1 << 20
_DEFLATED = "1.2.840.10008.1.2.1.99"
_NATIVE = b"<NativeDicomModel>"


@dataclass(frozen=True)
class Attack:
    """A request; `body` is made when it is sent. `chunk`: bytes of one HTTP chunk, 0 for a declared length."""

    name: str
    path: str
    content_type: str
    body: Callable[[], bytes] = field(repr=False)
    chunk: int = 0

    def __str__(self) -> str:
        return self.name


def related(kind: str) -> str:
    """Return a Content-Type with the boundary B."""
    return f'multipart/related; type="{kind}"; boundary=B'


def part(content: bytes, kind: str = DICOM) -> bytes:
    """Return one part."""
    return b"--B\r\nContent-Type: " + kind.encode() + b"\r\n\r\n" + content + b"\r\n"


def _many(one: bytes, size: int, start: bytes = b"", end: bytes = b"", between: bytes = b",") -> bytes:
    return start + between.join([one] * (size // (len(one) + len(between)))) + end


def _nested_json(depth: int) -> bytes:
    return b'[{"00400275":{"vr":"SQ","Value":' * depth + b"[]" + b"}}]" * depth


def _wide(count: int) -> bytes:
    """Return a data set of very many elements."""
    return b"[{" + b",".join([b'"%08X":{}' % (0x00110000 + n) for n in range(16, count)]) + b"}]"


def _references(count: int) -> bytes:
    elements = [b'"%08X":{"vr":"OB","BulkDataURI":"b/%d"}' % (0x00110010 + n, n) for n in range(count)]
    return b"[{" + b",".join(elements) + b"}]"


def _zip(count: int, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for number in range(count):
            archive.writestr(zipfile.ZipInfo(f"{number}"), content)
    return buffer.getvalue()


def _deflated() -> bytes:
    deflater = zlib.compressobj(9, wbits=-15)
    head = deflater.compress(data_set("1.9.1") + explicit(0x7FE10010, "OB", length=0xF0000000))
    head += deflater.flush(zlib.Z_FULL_FLUSH)
    # Nothing refers beyond a full flush, so one deflated block stands for all.
    block = deflater.compress(bytes(MB)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return write_part10_header(CT, "1.9.1", _DEFLATED) + head + block * 2048 + deflater.flush()


def _attribute(tag: int, vr: str, content: bytes) -> bytes:
    return b'<DicomAttribute tag="%08X" vr="%b">%b</DicomAttribute>' % (tag, vr.encode(), content)


def _gaps() -> bytes:
    one = b'<Value number="9999"/>'
    return _NATIVE + b"".join([_attribute(0x00110010 + n, "LO", one) for n in range(60_000)]) + b"</NativeDicomModel>"


def _nested_xml(depth: int) -> bytes:
    return _NATIVE + b'<DicomAttribute tag="00400275" vr="SQ"><Item number="1">' * depth


def _instances(count: int) -> bytes:
    return b"".join(
        [part(write_part10_header(CT, f"1.9.{n}", "1.2.840.10008.1.2.1") + data_set(f"1.9.{n}")) for n in range(count)]
    ) + b"--B--\r\n"  # fmt: skip


def _long_names() -> bytes:
    directory = bytearray()
    for number in range(240):
        name = b"%d" % number + b"x" * 65_000
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0)
        directory += name
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 240, 240, len(directory), 4, 0)
    return b"PK\3\4" + bytes(directory) + tail


def _noise(size: int) -> bytes:
    return random.Random(3).randbytes(size)


ATTACKS: tuple[Attack, ...] = (
    Attack("json: 1.5 million elements", STOW, JSON, lambda: _wide(1_500_000)),
    Attack("json: empty items", STOW, JSON,
           lambda: _many(b"{}", 24 * MB, b'[{"00400275":{"vr":"SQ","Value":[', b"]}}]")),
    Attack("json: empty data sets", STOW, JSON, lambda: _many(b"{}", 24 * MB, b"[", b"]")),
    Attack("json: numbers for data sets", STOW, JSON, lambda: _many(b"1", 24 * MB, b"[", b"]")),
    Attack("json: values", STOW, JSON, lambda: _many(b"1.5", 24 * MB, b'[{"00189087":{"vr":"FD","Value":[', b"]}}]")),
    Attack("json: names", STOW, JSON, lambda: _many(b"{}", 24 * MB, b'[{"00100010":{"vr":"PN","Value":[', b"]}}]")),
    Attack("json: arrays", STOW, JSON, lambda: _many(b"[[]]", 24 * MB, b'[{"00100010":{"vr":"LO","Value":[', b"]}}]")),
    Attack("json: unknown members", STOW, JSON, lambda: _many(b"[{}]", 24 * MB, b'[{"00100010":{"x":[', b"]}}]")),
    Attack("json: long text", STOW, JSON,
           lambda: b'[{"00104000":{"vr":"LT","Value":["' + "\U0001f600".encode() * (6 * MB) + b'"]}}]'),
    Attack("json: long binary", STOW, JSON,
           lambda: b'[{"00291010":{"vr":"OB","InlineBinary":"' + b"A" * (24 * MB) + b'"}}]'),
    Attack("json: nested", STOW, JSON, lambda: _nested_json(200_000)),
    Attack("json: brackets", STOW, JSON, lambda: b"[" * (24 * MB)),
    Attack("json: items within items", STOW, JSON,
           lambda: _many(b'{"00100020":{}}', 20 * MB, b"[" + b'{"00400275":{"vr":"SQ","Value":[' * 79)),
    Attack("json: references", STOW, related(JSON), lambda: part(_references(400_000), JSON) + b"--B--\r\n"),
    Attack("json: garbage", STOW, JSON, lambda: _noise(24 * MB)),
    Attack("json: many parts", STOW, related(JSON),
           lambda: part(_references(10_000), JSON) * 40 + b"--B--\r\n"),
    Attack("xml: elements", STOW, XML,
           lambda: _NATIVE + b"".join([_attribute(0x00110010 + n, "LO", b"") for n in range(500_000)])),
    Attack("xml: values", STOW, XML,
           lambda: _NATIVE + _many(b'<Value number="1"/>', 24 * MB, b'<DicomAttribute tag="00100020" vr="LO">', b"",
                                   b"")),
    Attack("xml: numbers of values", STOW, XML, _gaps),
    Attack("xml: empty items", STOW, XML,
           lambda: _NATIVE + _many(b"<Item/>", 24 * MB, b'<DicomAttribute tag="00400275" vr="SQ">', b"", b"")),
    Attack("xml: nested", STOW, XML, lambda: _nested_xml(400_000)),
    Attack("xml: long text", STOW, XML,
           lambda: _NATIVE + _attribute(0x00104000, "LT", b"<Value>" + "\U0001f600".encode() * (6 * MB))),
    Attack("xml: attributes", STOW, XML,
           lambda: b"<NativeDicomModel " + b" ".join([b'a%d="1"' % n for n in range(1_500_000)])),
    Attack("xml: entities", STOW, XML,
           lambda: b'<!DOCTYPE n [<!ENTITY a "' + b"a" * MB + b'">]><NativeDicomModel>' + b"&a;" * 100_000),
    Attack("multipart: empty parts", STOW, related(DICOM), lambda: b"--B\r\n\r\n\r\n" * 100_000 + b"--B--\r\n"),
    Attack("multipart: parts of a byte", STOW, related(DICOM), lambda: part(b"x") * 100_000 + b"--B--\r\n"),
    Attack("multipart: too many parts", STOW, related(DICOM), lambda: b"--B\r\n\r\n\r\n" * 1_000_000 + b"--B--\r\n"),
    Attack("multipart: form of empty files", "/instances", "multipart/form-data; boundary=B",
           lambda: b"--B\r\n\r\n\r\n" * 100_000 + b"--B--\r\n"),
    Attack("multipart: small instances", STOW, related(DICOM), lambda: _instances(5_000)),
    Attack("multipart: a header of 1 MB", STOW, related(DICOM),
           lambda: b"--B\r\nX: " + b"y" * MB + b"\r\n\r\n\r\n--B--\r\n"),
    Attack("multipart: a million headers", STOW, related(DICOM),
           lambda: b"--B\r\n" + b"X: y\r\n" * MB + b"\r\n\r\n--B--\r\n"),
    Attack("multipart: almost boundaries", STOW, related(DICOM), lambda: part(b"\r\n--" * (4 * MB)) + b"--B--\r\n"),
    Attack("multipart: a preamble of 24 MB", STOW, related(DICOM), lambda: b"\r\n" * (12 * MB)),
    Attack("chunks of a byte", STOW, related(DICOM), lambda: part(bytes(MB)) + b"--B--\r\n", chunk=1),
    Attack("zip: 65,535 entries", "/instances", "application/zip", lambda: _zip(65_535, b"", zipfile.ZIP_STORED)),
    Attack("zip: bomb", "/instances", "application/zip", lambda: _zip(1, bytes(128 * MB))),
    Attack("zip: long names", "/instances", "application/zip",
           _long_names),
    Attack("deflated data set", STOW, DICOM, _deflated),
    Attack("find: brackets", "/tools/find", "application/json", lambda: b"[" * (4 * MB)),
    Attack("find: nested", "/tools/find", "application/json",
           lambda: b'{"Level":"Study","Query":{"PatientID":' + b"[" * 1000 + b"]" * 1000 + b"}}"),
    Attack("find: a million objects", "/tools/find", "application/json",
           lambda: _many(b"{}", 4 * MB - 100, b'{"Level":"Study","Query":{},"X":[', b"]}")),
    Attack("find: keys", "/tools/find", "application/json",
           lambda: json.dumps({"Level": "Study", "Query": {f"0011{n:04X}": "x" for n in range(60_000)}}).encode()),
    Attack("find: long values", "/tools/find", "application/json",
           lambda: json.dumps({"Level": "Study", "Query": {"PatientID": "\\".join(["x"] * 1_500_000)}}).encode()),
)  # fmt: skip


def pieces(attack: Attack, body: bytes) -> Iterator[bytes]:
    """Yield the bytes of a request as HTTP/1.1 has them."""
    framing = "Transfer-Encoding: chunked" if attack.chunk else f"Content-Length: {len(body)}"
    head = f"POST {attack.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {attack.content_type}\r\n"
    yield f"{head}{framing}\r\n\r\n".encode()
    if not attack.chunk:
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]
        return
    ready = bytearray()
    for start in range(0, len(body), attack.chunk):
        chunk = body[start : start + attack.chunk]
        ready += b"%x\r\n%b\r\n" % (len(chunk), chunk)
        if len(ready) > 1 << 16:
            yield bytes(ready)
            ready.clear()
    yield bytes(ready) + b"0\r\n\r\n"
