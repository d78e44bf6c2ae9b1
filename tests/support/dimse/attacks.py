"""What a peer can send to make an acceptor work for it: much that is small, repeated, or without end."""

import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

from support.dimse.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    cancel_rq,
    command_set,
    data_tf,
    echo_rq,
    find_rq,
    move_rq,
    pdu,
    pdv,
    request_pdu,
    store_rq,
)

COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
CONTEXTS = [
    (CT, [EXPLICIT]),
    (VERIFICATION, [IMPLICIT]),
    (STUDY_FIND, [IMPLICIT]),
    (STUDY_MOVE, [IMPLICIT]),
    (STUDY_GET, [IMPLICIT]),
    (COMMITMENT, [IMPLICIT]),
]
"""Context ids 1, 3, 5, 7, 9 and 11."""
STORE, ECHO, FIND, MOVE, GET, COMMIT = range(1, 13, 2)
_APPLICATION = "1.2.840.10008.3.1.1.1"


@dataclass(frozen=True)
class Attack:
    """One attack. `make` returns what is sent, `size` being about how many bytes it has."""

    name: str
    make: Callable[[int], bytes]
    size: int = 2 << 20
    associated: bool = True
    """It is sent on an association; else it is the first that comes on a connection."""


def association_request() -> bytes:
    """Return the A-ASSOCIATE-RQ of all attacks on associations: 16 operations at once."""
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked, item.maximum_number_operations_performed = 16, 1
    return request_pdu(CONTEXTS, item, calling="ATTACKER")


def repeated(piece: bytes, size: int) -> bytes:
    """Return a piece as often as it fits."""
    return piece * max(1, size // len(piece))


def in_pieces(context_id: int, kind: int, data: bytes, size: int = 1) -> bytes:
    """Return one message part in P-DATA-TF of so many bytes each."""
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join([data_tf(pdv(context_id, kind | (2 * (n == len(parts))), part)) for n, part in enumerate(parts, 1)])


def _small_data_pdus(size: int) -> bytes:
    return data_tf(pdv(STORE, 3, store_rq())) + repeated(data_tf(pdv(STORE, 0, b"x")), size)


def _small_data_values(size: int) -> bytes:
    values = [pdv(STORE, 0, b"x")] * 10_000
    return data_tf(pdv(STORE, 3, store_rq())) + repeated(data_tf(*values), size)


def _empty_data_values(size: int) -> bytes:
    return data_tf(pdv(STORE, 3, store_rq())) + repeated(data_tf(*[pdv(STORE, 0)] * 10_000), size)


def _commands_byte_by_byte(size: int) -> bytes:
    return repeated(in_pieces(ECHO, 1, echo_rq()), size)


def _long_commands(size: int) -> bytes:
    elements = struct.pack("<HHI", 0, 0x0700, 0) * 8000
    return repeated(in_pieces(ECHO, 1, elements + echo_rq(), 16_000), size)


def _identifier_byte_by_byte(size: int) -> bytes:
    return data_tf(pdv(FIND, 3, find_rq())) + in_pieces(FIND, 0, bytes(size // 13))


def _endless_identifier(size: int) -> bytes:
    return data_tf(pdv(FIND, 3, find_rq())) + repeated(data_tf(pdv(FIND, 0, bytes(2))), size)


def _cancels(size: int) -> bytes:
    return repeated(data_tf(pdv(FIND, 3, cancel_rq(7))), size)


def _echoes(size: int) -> bytes:
    return repeated(b"".join([data_tf(pdv(ECHO, 3, echo_rq(n))) for n in range(1, 101)]), size)


def _refused_stores(size: int) -> bytes:
    return repeated(data_tf(pdv(STORE, 3, store_rq(1, "not a UID"))) + data_tf(pdv(STORE, 2, b"data")), size)


def _refused_moves(size: int) -> bytes:
    return repeated(data_tf(pdv(MOVE, 3, move_rq(1, ""))) + data_tf(pdv(MOVE, 2, b"data")), size)


def _unknown_commands(size: int) -> bytes:
    unknown = command_set({0x0002: CT, 0x0100: 0x0055, 0x0110: 1, 0x0800: 0x0101})
    return repeated(data_tf(pdv(STORE, 3, unknown)), size)


def _refused_actions(size: int) -> bytes:
    request = command_set({0x0003: COMMITMENT, 0x0100: 0x0130, 0x0110: 1, 0x0800: 0x0101, 0x1001: "1.2", 0x1008: 1})
    return repeated(data_tf(pdv(COMMIT, 3, request)), size)


def _reports(size: int) -> bytes:
    request = command_set({0x0002: COMMITMENT, 0x0100: 0x0100, 0x0110: 1, 0x0800: 0x0101, 0x1000: "1.2", 0x1002: 1})
    return repeated(data_tf(pdv(COMMIT, 3, request)), size)


def action_information(items: int) -> bytes:
    """Return Action Information (PS3.4 Table J.3-1) in Implicit VR with so many references."""
    reference = _element(0x00081150, CT.encode() + b"\0") + _element(0x00081155, b"1.2.3.44")
    sequence = (struct.pack("<HHI", 0xFFFE, 0xE000, len(reference)) + reference) * items
    return _element(0x00081195, b"1.2.3.4.") + _element(0x00081199, sequence)


def _element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def _action(size: int) -> bytes:
    values = {
        0x0003: COMMITMENT, 0x0100: 0x0130, 0x0110: 1, 0x0800: 1, 0x1001: COMMITMENT_INSTANCE, 0x1008: 1,
    }  # fmt: skip
    request = command_set(values)
    return data_tf(pdv(COMMIT, 3, request)) + in_pieces(COMMIT, 0, action_information(size // 70), 64)


def _after_abort(size: int) -> bytes:
    return pdu(7) + repeated(pdu(9), size)


def _after_error(size: int) -> bytes:
    return pdu(2) + repeated(pdu(1), size)


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data


def _context(context_id: int, *syntaxes: bytes) -> bytes:
    return _item(0x20, bytes((context_id, 0, 0, 0)) + _item(0x30, CT.encode()) + b"".join(syntaxes))


def _request(*items: bytes) -> bytes:
    head = request_pdu(CONTEXTS)[6:74]
    return pdu(1, head + _item(0x10, _APPLICATION.encode()) + b"".join(items))


def _short_syntaxes(size: int) -> bytes:
    contexts = size // 64_000
    return _request(*[_context(2 * n + 1, *[_item(0x40, b"1")] * 12_700) for n in range(contexts)])


def _user_items(kind: int, data: bytes) -> Callable[[int], bytes]:
    def make(size: int) -> bytes:
        items = [_item(0x51, bytes(4)), *[_item(kind, data)] * (60_000 // (len(data) + 4))]
        return _request(_context(1, _item(0x40, EXPLICIT.encode())), *[_item(0x50, b"".join(items))] * (size // 64_000))

    return make


def _unknown_items(size: int) -> bytes:
    return _request(_context(1, _item(0x40, EXPLICIT.encode())), repeated(_item(0x99, b""), size))


def _many_contexts(size: int) -> bytes:
    return _request(*[_context(n, *[_item(0x40, EXPLICIT.encode())] * 64) for n in range(1, 256, 2)])


_COUNTED_UID = struct.pack(">H", 25) + b"1.2.840.10008.5.1.4.1.1.2"
_REQUEST_SIZE = 510_000
ASSOCIATION_ATTACKS: Sequence[Attack] = (
    Attack("P-DATA-TF of one byte", _small_data_pdus),
    Attack("presentation data values of one byte", _small_data_values),
    Attack("presentation data values of no byte", _empty_data_values),
    Attack("command sets byte by byte", _commands_byte_by_byte),
    Attack("command sets of 8,000 elements", _long_commands),
    Attack("an Identifier byte by byte", _identifier_byte_by_byte),
    Attack("an Identifier without end", _endless_identifier),
    Attack("C-CANCEL of nothing", _cancels),
    Attack("C-ECHO in one segment", _echoes),
    Attack("C-STORE of what is not a UID", _refused_stores),
    Attack("C-MOVE to nowhere", _refused_moves),
    Attack("commands that nobody knows", _unknown_commands),
    Attack("N-ACTION without Action Information", _refused_actions),
    Attack("N-EVENT-REPORT", _reports),
    Attack("N-ACTION of 100,000 instances", _action, size=7_000_000),
    Attack("PDUs after A-ABORT", _after_abort),
    Attack("A-ASSOCIATE-RQ after an error", _after_error),
)
REQUEST_ATTACKS: Sequence[Attack] = tuple(
    Attack(name, make, _REQUEST_SIZE, associated=False)
    for name, make in {
        "transfer syntaxes of one character": _short_syntaxes,
        "roles": _user_items(0x54, _COUNTED_UID + b"\1\1"),
        "extended negotiation": _user_items(0x56, _COUNTED_UID + b"\1\1"),
        "common extended negotiation": _user_items(0x57, _COUNTED_UID * 2 + bytes(2)),
        "user items that nobody knows": _user_items(0x99, b""),
        "items that nobody knows": _unknown_items,
        "128 contexts of 64 transfer syntaxes": _many_contexts,
    }.items()
)


def flood(port: int, attack: Attack, data: bytes) -> None:
    """Send all of an attack, and read the answers in another thread."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        if attack.associated:
            peer.sendall(association_request())
            header = peer.recv(6, socket.MSG_WAITALL)
            peer.recv(int.from_bytes(header[2:]), socket.MSG_WAITALL)
        reader = threading.Thread(target=read_all, args=(peer,))
        reader.start()
        with suppress(OSError):  # the archive may close the connection at any byte: ENOTCONN is no ConnectionError
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
        reader.join()


def read_all(peer: socket.socket) -> None:
    with suppress(ConnectionError):
        while peer.recv(1 << 16):
            pass
