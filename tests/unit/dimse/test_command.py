import contextlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode as pynetdicom_decode
from pynetdicom.dsutils import encode as pynetdicom_encode

from osteon.dimse import pdu
from osteon.dimse.command import CommandElement, CommandField, decode, encode_response
from osteon.dimse.pdu import ProtocolError
from support.dimse.raw_peer import CT, command_set, store_rq


def test_a_command_set_of_pynetdicom_is_read() -> None:
    data = Dataset()
    data.AffectedSOPClassUID, data.AffectedSOPInstanceUID = CT, "1.2.3"
    data.CommandField, data.MessageID, data.Priority, data.CommandDataSetType = 1, 7, 2, 1
    data.MoveOriginatorApplicationEntityTitle, data.MoveOriginatorMessageID = "MOVER", 9
    command = decode(pynetdicom_encode(data, True, True))
    assert (command.field, command.message_id, command.sop_class_uid) == (CommandField.C_STORE_RQ, 7, CT)
    assert command.text(CommandElement.AFFECTED_SOP_INSTANCE_UID) == "1.2.3"
    assert command.text(CommandElement.MOVE_ORIGINATOR_AET) == "MOVER"
    assert command.number(CommandElement.MOVE_ORIGINATOR_MESSAGE_ID) == 9
    assert command.has_data_set


def test_pynetdicom_reads_a_response() -> None:
    encoded = encode_response(1, 7, 0xA700, sop_class_uid=CT, sop_instance_uid="1.2.3", comment="disk full")
    data = pynetdicom_decode(BytesIO(encoded), True, True)
    assert data.CommandGroupLength == len(encoded) - 12
    assert (data.CommandField, data.MessageIDBeingRespondedTo, data.Status) == (0x8001, 7, 0xA700)
    assert (data.AffectedSOPClassUID, data.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert data.ErrorComment == "disk full"
    assert data.CommandDataSetType == 0x0101


def test_an_error_comment_is_cut_to_what_lo_can_hold() -> None:
    encoded = encode_response(1, 7, 0x0110, comment="x" * 100)
    assert pynetdicom_decode(BytesIO(encoded), True, True).ErrorComment == "x" * 64


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0",
        store_rq()[:-1],
        command_set({0x0110: 1, 0x0800: 1}),
        command_set({0x0100: 1, 0x0110: 1}),
        command_set({0x0100: b"\1\0\0\0", 0x0110: 1, 0x0800: 1}),
        b"\0\0\2\0\xff\xff\xff\xffabc",
    ],
    ids=["half a header", "cut", "no command field", "no data set type", "two values", "length 2^32-1"],
)
def test_a_broken_command_set_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


def test_a_request_without_a_message_id_is_an_error() -> None:
    command = decode(command_set({0x0100: 1, 0x0800: 1}))
    with pytest.raises(ProtocolError, match="MESSAGE_ID"):
        _ = command.message_id


@given(st.binary(max_size=200))
def test_whatever_the_bytes_reading_them_ends_in_a_command_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode(data)


@given(st.binary(max_size=5000), st.integers(pdu.SHORTEST_PDU, 300))
def test_fragments_put_together_are_the_message_and_respect_the_limit(data: bytes, limit: int) -> None:
    whole, lasts = b"", []
    for encoded in pdu.fragment(5, pdu.COMMAND, data, limit):
        length = int.from_bytes(encoded[2:6], "big")
        assert length == len(encoded) - 6 <= limit
        assert int.from_bytes(encoded[6:10], "big") == length - 4
        assert encoded[10] == 5
        lasts.append(encoded[11])
        whole += encoded[12:]
    assert whole == data
    assert lasts == [1] * (len(lasts) - 1) + [3]
