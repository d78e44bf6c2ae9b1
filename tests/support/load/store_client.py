"""A client that costs next to nothing, so that what is measured is the server.

Each association is a process that has encoded its messages (PS3.7 9.3.1, PS3.8 9.3.5) before the clock starts. Then it
only writes them, waits for each answer and checks it.
"""

import multiprocessing
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from pynetdicom.pdu import A_ASSOCIATE_AC

from osteon.dicom.part10 import read_part10
from osteon.dimse import command
from support.dimse.raw_peer import EXPLICIT, data_tf, pdu, pdv, request_pdu, store_rq

LONGEST_PDU = 131_072
"""What DCMTK sends at most; less when the server asks for less."""
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class StoreResult:
    """How it went. Times in seconds; `began` and `ended` are of `time.perf_counter`."""

    began: float
    ended: float
    cpu: float
    latencies: tuple[float, ...] = ()
    """From the first byte of a C-STORE-RQ to its answer."""


def send(associations: Sequence[Sequence[Path]], ports: Sequence[int], aet: str) -> StoreResult:
    """Send each list of files of one SOP class by an association of its own, all at once, over `ports` in turn.

    Raises `AssertionError` unless every instance was answered with success.
    """
    barrier = _fork.Barrier(len(associations))
    pipes = []
    for number, paths in enumerate(associations):
        ours, theirs = _fork.Pipe(duplex=False)
        arguments = (theirs, barrier, paths, ports[number % len(ports)], aet)
        process = _fork.Process(target=_run, args=arguments, daemon=True)
        process.start()
        theirs.close()
        pipes.append((process, ours))
    results = []
    for process, ours in pipes:
        try:
            results.append(ours.recv())
        except EOFError:
            results.append(RuntimeError("a client ended without a result"))
        process.join()
    failed = [result for result in results if not isinstance(result, StoreResult)]
    assert not failed, failed
    return StoreResult(
        min(sent.began for sent in results),
        max(sent.ended for sent in results),
        sum(sent.cpu for sent in results),
        tuple(latency for sent in results for latency in sent.latencies),
    )


def _run(result: Connection, barrier: Barrier, paths: Sequence[Path], port: int, aet: str) -> None:
    try:
        result.send(_associate_and_send(barrier, paths, port, aet))
    except Exception as error:  # the parent reports whatever it was
        barrier.abort()
        result.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _associate_and_send(barrier: Barrier, paths: Sequence[Path], port: int, aet: str) -> StoreResult:
    sop_class = read_part10(paths[0].read_bytes()).sop_class_uid
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = connection.makefile("rb")
        connection.sendall(request_pdu([(sop_class, [EXPLICIT])], called=aet, calling="BENCH"))
        longest = _accepted(answers)
        messages = [message(path.read_bytes(), longest) for path in paths]
        barrier.wait(120)
        sent = _send(connection, answers, messages)
        connection.sendall(pdu(5))
        assert _receive(answers)[0] == 6, "no A-RELEASE-RP"
    return sent


def _send(connection: socket.socket, answers: BufferedReader, messages: Sequence[bytes]) -> StoreResult:
    latencies = []
    cpu, began = time.process_time(), time.perf_counter()
    for encoded in messages:
        started = time.perf_counter()
        connection.sendall(encoded)
        status = _status(answers)
        latencies.append(time.perf_counter() - started)
        assert status == 0, f"C-STORE was answered with status {status:04X}"
    return StoreResult(began, time.perf_counter(), time.process_time() - cpu, tuple(latencies))


def message(file: bytes, longest: int) -> bytes:
    """Return the C-STORE-RQ of a file, in PDUs of at most `longest` bytes (PS3.8 D.1: the length without its head)."""
    meta = read_part10(file)
    data = memoryview(file)[meta.data_set_offset :]
    request = store_rq(1, meta.sop_instance_uid, meta.sop_class_uid)
    return b"".join([data_tf(pdv(1, 3, request)), *_fragments(data, longest - 6)])


def _fragments(data: memoryview, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data_tf(pdv(1, 2 if at + size >= len(data) else 0, data[at : at + size].tobytes()))


def _accepted(answers: BufferedReader) -> int:
    kind, body = _receive(answers)
    assert kind == 2, f"the association was not accepted (PDU type {kind}, {body!r})"
    answer = A_ASSOCIATE_AC()
    answer.decode(pdu(2, body))
    assert answer.presentation_context[0].result == 0, "the presentation context was not accepted"
    return min(answer.user_information.maximum_length or LONGEST_PDU, LONGEST_PDU)


def _status(answers: BufferedReader) -> int:
    encoded, last = b"", False
    while not last:
        kind, body = _receive(answers)
        assert kind == 4, f"PDU type {kind} instead of P-DATA: {body!r}"
        at = 0
        while at < len(body):
            length = int.from_bytes(body[at : at + 4], "big")
            encoded += body[at + 6 : at + 4 + length]
            last = bool(body[at + 5] & 2)
            at += 4 + length
    return command.decode(encoded).require(command.CommandElement.STATUS)


def _receive(answers: BufferedReader) -> tuple[int, bytes]:
    head = answers.read(6)
    assert len(head) == 6, "the server closed the connection"
    return head[0], answers.read(int.from_bytes(head[2:], "big"))
