"""Command sets: group 0000 in Implicit VR Little Endian (PS3.7 6.3 and Annex E)."""

import struct
from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from osteon.dimse.pdu import ProtocolError

_ELEMENT = struct.Struct("<HHI")
_US_ELEMENT = struct.Struct("<HHIH")
_NO_DATA_SET = 0x0101
_MOST_ELEMENTS = 4096
"""Elements of a command set, which is read in one go; PS3.7 E.1 and E.2 have some 60."""
RESPONSE = 0x8000
"""Bit of Command Field that tells a response from its request."""


class CommandField(IntEnum):
    """Command Field (0000,0100) of the requests that are known (PS3.7 E.1)."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_ACTION_RQ = 0x0130
    C_CANCEL_RQ = 0x0FFF


class CommandElement(IntEnum):
    """Elements of group 0000 (PS3.7 E.1)."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008
    REMAINING_SUB_OPERATIONS = 0x1020
    COMPLETED_SUB_OPERATIONS = 0x1021
    FAILED_SUB_OPERATIONS = 0x1022
    WARNING_SUB_OPERATIONS = 0x1023
    MOVE_ORIGINATOR_AET = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


_SPACE_PADDED = {CommandElement.ERROR_COMMENT, CommandElement.MOVE_DESTINATION, CommandElement.MOVE_ORIGINATOR_AET}


class Command:
    """A decoded command set."""

    __slots__ = ("_values", "field", "has_data_set")

    def __init__(self, values: dict[int, bytes]) -> None:
        self._values = values
        self.field = self.require(CommandElement.COMMAND_FIELD)
        self.has_data_set = self.require(CommandElement.COMMAND_DATA_SET_TYPE) != _NO_DATA_SET

    @property
    def message_id(self) -> int:
        """Message ID of a request, or of the request that a response or cancel is about."""
        about_other = self.field & RESPONSE or self.field == CommandField.C_CANCEL_RQ
        return self.require(CommandElement.MESSAGE_ID_BEING_RESPONDED_TO if about_other else CommandElement.MESSAGE_ID)

    @property
    def sop_class_uid(self) -> str:
        """Affected, or else Requested, SOP Class UID; empty when there is none."""
        return self.text(CommandElement.AFFECTED_SOP_CLASS_UID) or self.text(CommandElement.REQUESTED_SOP_CLASS_UID)

    @property
    def sop_instance_uid(self) -> str:
        """Affected, or else Requested, SOP Instance UID; empty when there is none."""
        return self.text(CommandElement.AFFECTED_SOP_INSTANCE_UID) or self.text(
            CommandElement.REQUESTED_SOP_INSTANCE_UID
        )

    def number(self, element: CommandElement) -> int | None:
        """Return a US value, or None when the element is absent or empty. Raises `ProtocolError`."""
        value = self._values.get(element)
        if not value:
            return None
        if len(value) != 2:
            raise ProtocolError(f"(0000,{element:04X}) has {len(value)} bytes, expected 2")
        return int.from_bytes(value, "little")

    def require(self, element: CommandElement) -> int:
        """Return a US value; raises `ProtocolError` when the element is absent."""
        value = self.number(element)
        if value is None:
            raise ProtocolError(f"the command set has no (0000,{element:04X}) {element.name}")
        return value

    def text(self, element: CommandElement) -> str:
        """Return a UI or AE value without its padding; empty when the element is absent."""
        return self._values.get(element, b"").decode("latin-1").strip(" \0")


def decode(data: bytes) -> Command:
    """Read a command set. Raises `ProtocolError` when it is not one."""
    values: dict[int, bytes] = {}
    at = count = 0
    while at < len(data):
        count += 1
        if count > _MOST_ELEMENTS:
            raise ProtocolError(f"the command set has more than {_MOST_ELEMENTS} elements")
        if at + _ELEMENT.size > len(data):
            raise ProtocolError("the command set ends within an element")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if at + length > len(data):
            raise ProtocolError(f"({group:04X},{element:04X}) of {length} bytes is longer than its command set")
        if group == 0:
            values[element] = data[at : at + length]
        at += length
    return Command(values)


def encode_response(
    field: int,
    message_id: int,
    status: int,
    *,
    sop_class_uid: str = "",
    sop_instance_uid: str = "",
    comment: str = "",
    data_set: bool = False,
    counts: Mapping[CommandElement, int] = MappingProxyType({}),
) -> bytes:
    """Write the command set of a response; `field` is the request's Command Field, `counts` those of sub-operations."""
    return _encode(
        {
            **counts,
            CommandElement.AFFECTED_SOP_CLASS_UID: sop_class_uid,
            CommandElement.COMMAND_FIELD: field | RESPONSE,
            CommandElement.MESSAGE_ID_BEING_RESPONDED_TO: message_id,
            CommandElement.COMMAND_DATA_SET_TYPE: 1 if data_set else _NO_DATA_SET,
            CommandElement.STATUS: status,
            CommandElement.ERROR_COMMENT: comment[:64],
            CommandElement.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
        }
    )


def encode_request(field: int, message_id: int, values: Mapping[CommandElement, int | str], *, data_set: bool) -> bytes:
    """Write the command set of a request; empty texts in `values` are left out."""
    own = {
        CommandElement.COMMAND_FIELD: field,
        CommandElement.MESSAGE_ID: message_id,
        CommandElement.COMMAND_DATA_SET_TYPE: 1 if data_set else _NO_DATA_SET,
    }
    return _encode({**values, **own})


def encode_cancel(message_id: int) -> bytes:
    """Write C-CANCEL-RQ for the request with a Message ID (PS3.7 9.3.2.3)."""
    return _encode(
        {
            CommandElement.COMMAND_FIELD: CommandField.C_CANCEL_RQ,
            CommandElement.MESSAGE_ID_BEING_RESPONDED_TO: message_id,
            CommandElement.COMMAND_DATA_SET_TYPE: _NO_DATA_SET,
        }
    )


def _encode(values: Mapping[CommandElement, int | str]) -> bytes:
    body = b"".join([_element(element, values[element]) for element in sorted(values)])
    return _ELEMENT.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


def _element(element: CommandElement, value: int | str) -> bytes:
    if isinstance(value, int):
        return _US_ELEMENT.pack(0, element, 2, value)
    if not value:
        return b""
    encoded = value.encode("latin-1", "replace")
    if len(encoded) % 2:
        encoded += b" " if element in _SPACE_PADDED else b"\0"
    return _ELEMENT.pack(0, element, len(encoded)) + encoded
