"""Multipart bodies as RFC 2046 allows them and clients send them, in chunks of any size; judged by Python's email."""

import email
import random
from email.message import Message
from email.policy import HTTP

import pytest

from osteon.multipart import BadMultipart, MultipartParser, PartEnd, PartStart, UnsupportedPartEncoding

Parts = list[tuple[dict[str, str], bytes]]
HEAD = b"Content-Type: application/dicom\r\n\r\n"
DICOM = {"content-type": "application/dicom"}


def parse(body: bytes, chunk: int = 1 << 16, boundary: bytes = b"B") -> Parts:
    parser = MultipartParser(boundary)
    events = [event for at in range(0, len(body), chunk) for event in parser.feed(body[at : at + chunk])]
    parts: Parts = []
    for event in [*events, *parser.finish()]:
        if isinstance(event, PartStart):
            parts.append((dict(event.headers), b""))
        elif isinstance(event, memoryview):
            parts[-1] = parts[-1][0], parts[-1][1] + event
        else:
            assert isinstance(event, PartEnd)
    assert parser.complete
    return parts


ONE: Parts = [(DICOM, b"data")]
CASES: dict[str, tuple[bytes, Parts]] = {
    "as written": (b"--B\r\n" + HEAD + b"data\r\n--B--\r\n", ONE),
    "preamble": (b"A multi-part message.\r\n--B2 is none, nor is --B\r\n--B\r\n" + HEAD + b"data\r\n--B--", ONE),
    "empty line first": (b"\r\n--B\r\n" + HEAD + b"data\r\n--B--\r\n", ONE),
    "epilogue": (b"--B\r\n" + HEAD + b"data\r\n--B--\r\nbye\r\n--B\r\nno part", ONE),
    "blanks behind boundaries": (b"--B \t \r\n" + HEAD + b"data\r\n--B-- \t\r\n", ONE),
    "no headers": (b"--B\r\n\r\ndata\r\n--B--", [({}, b"data")]),
    "no line break at the end": (b"--B\r\n" + HEAD + b"data--B--", ONE),
    "one at the end only": (b"--B\r\n" + HEAD + b"data--B--\r\n", ONE),
    "folded": (
        b"--B\r\nContent-Type: application/dicom;\r\n\t transfer-syntax=1.2\r\nX:\r\n y\r\n\r\n\r\n--B--",
        [({"content-type": "application/dicom; transfer-syntax=1.2", "x": "y"}, b"")],
    ),
    "case and blanks of headers": (b"--B\r\ncONTENT-tYPE :application/dicom  \r\n\r\ndata\r\n--B--", ONE),
    "line feeds": (b"--B\nContent-Type: application/dicom\n\nda\r\n--Bta\r\n--B--\n", [(DICOM, b"da\r\n--Bta\r")]),
    "no content": (
        b"--B\r\n" + HEAD + b"--B\r\n\r\n\r\n--B\r\nX: y\r\n--B--", [(DICOM, b""), ({}, b""), ({"x": "y"}, b"")]
    ),
    "what resembles a boundary": (
        b"--B\r\n" + HEAD + b"\r\n--\r\n--b--\r\n--B-\r\n--Bx\r\n --B--\n--B--x\r\n--B--",
        [(DICOM, b"\r\n--\r\n--b--\r\n--B-\r\n--Bx\r\n --B--\n--B--x")],
    ),
    "binary": (
        b"--B\r\nContent-Transfer-Encoding: BINARY\r\n\r\n\0\r\n\xff\r\r\n--B\r\n\r\n\r\n\r\n--B--",
        [({"content-transfer-encoding": "BINARY"}, b"\0\r\n\xff\r"), ({}, b"\r\n")],
    ),
    "long epilogue": (b"--B\r\n--B--" + b"x" * 5000, [({}, b"")]),
    "no part": (b"preamble\r\n--B--\r\n", []),
    "too many blanks for a boundary": (b"--B" + b" " * 300 + b"\r\n\r\n--B--", []),
}  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 16])
@pytest.mark.parametrize("name", CASES)
def test_parts_are_found_however_they_come(name: str, chunk: int) -> None:
    body, parts = CASES[name]
    assert parse(body, chunk) == parts


@pytest.mark.parametrize("seed", range(40))
def test_bodies_of_any_bytes_are_read_as_pythons_email_reads_them(seed: int) -> None:
    chance = random.Random(seed)
    boundary = "".join(chance.choices("aB'()+_,-./:=? 0", k=chance.randint(1, 69))) + "x"
    alphabet = [b"\r\n", b"\n", b"\r", b"-", b"--", f"--{boundary}".encode()[:-1], b"\0", b"\xff", b" ", b"data" * 50]
    parts = [b"".join(chance.choices(alphabet, k=chance.randint(0, 60))) for _ in range(chance.randint(1, 4))]
    dashes = f"--{boundary}".encode()
    body = (
        b"before\r\n"
        + b"".join(dashes + b"\r\nX: y\r\n\r\n" + part + b"\r\n" for part in parts)
        + dashes
        + b"--\r\nend"
    )
    whole = email.message_from_bytes(
        f'Content-Type: multipart/related; boundary="{boundary}"\r\n\r\n'.encode() + body,
        policy=HTTP.clone(max_line_length=0),
    )
    theirs = [each.get_payload() for each in whole.get_payload() if isinstance(each, Message)]
    assert len(theirs) == len(parts)
    assert [content for _, content in parse(body, chance.randint(1, 100), boundary.encode())] == parts


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--B", b"--B\r\n", b"--B\r\n\r\n", b"--B\r\n" + HEAD + b"half", b"--B\r\n" + HEAD + b"half\r\n--B\r\n",
        b"--B\r\n" + HEAD + b"data\r\n--C--", b"--Bx--", b"x--B--", b"--B\r\nno colon\r\n\r\n\r\n--B--",
        b"--B\r\n: x\r\n\r\n\r\n--B--", b"--B\r\nX\0: x\r\n\r\n\r\n--B--", b"--B\r\n folded\r\n\r\n\r\n--B--",
        b"--B\r\nX: " + b"y" * 5000 + b"\r\n\r\n\r\n--B--", b"--B\r\nX: y\r\n" + b" y\r\n" * 5000 + b"\r\n\r\n--B--",
        b"--B\r\n" + b"X: y\r\n" * 33 + b"\r\n\r\n--B--",
    ],
)  # fmt: skip
@pytest.mark.parametrize("chunk", [1, 1 << 16])
def test_what_is_incomplete_or_no_part_is_refused(body: bytes, chunk: int) -> None:
    with pytest.raises(BadMultipart):
        parse(body, chunk)


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-uuencode"])
def test_an_encoding_that_changes_the_bytes_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(UnsupportedPartEncoding, match=f"part 2: Content-Transfer-Encoding '{encoding}'.*binary"):
        parse(b"--B\r\n\r\nx\r\n--B\r\nContent-Transfer-Encoding: %s\r\n\r\nAAAA\r\n--B--" % encoding.encode())


def test_content_is_given_out_as_it_comes() -> None:
    parser = MultipartParser(b"B")
    parser.feed(b"--B\r\n\r\n")
    for _ in range(100):
        (_, *pieces) = [memoryview(b""), *parser.feed(bytes(1 << 16))]
        assert sum(len(piece) for piece in pieces if isinstance(piece, memoryview)) >= (1 << 16) - 80
