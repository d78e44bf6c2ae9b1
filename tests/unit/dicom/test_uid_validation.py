"""One law of what a UID is (PS3.5 9.1), at every door through which one comes in."""

import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from osteon.cli.scu.get_receiver import InstanceFolder
from osteon.commitment.data_sets import CommitmentInformation
from osteon.commitment.data_sets import decode as decode_commitment
from osteon.commitment.data_sets import encode as encode_commitment
from osteon.commitment.port import CommitmentItem
from osteon.contracts.retrieve import RetrievePlanRequest
from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dicom.json_reader import JsonReader
from osteon.dicom.matching import condition
from osteon.dicom.models import STUDY_ROOT
from osteon.dicom.peek import peek_identity
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, is_uid
from osteon.dimse.associate_rq import read_uid
from osteon.dimse.associate_rq_encoder import encode as encode_associate_rq
from osteon.dimse.c_store import StoreOperation
from osteon.dimse.command import CommandElement, CommandField, decode, encode_request
from osteon.dimse.config import Remote, RequestedContext, RequestorConfig
from osteon.dimse.handler import Outcome, PresentationContext, RefusingHandler, StoreRequest
from osteon.dimse.status import Status
from osteon.errors import Invalid
from osteon.spool.incoming_instance import IncomingInstance
from osteon_dispatcher.plan import parse_retrieve_identifier
from osteon_query.dicomweb.instance_assembler import _TEXTS, AssemblyFailure, _pending_instance
from osteon_query.http.request_values import uid_of
from osteon_query.orthanc.commitments import _listed_items
from support.dicom.elements import explicit

CT = "1.2.840.10008.5.1.4.1.1.2"
ACCEPTED = {
    "a root": "1",
    "components": "1.2.840.10008.1.2",
    "a component zero": "1.0.2",
    "leading zeros, which equipment writes": "1.02.003",
    "a leading zero at the beginning": "01.2",
    "64 characters": "1." + "2" * 62,
    "an empty component, which equipment writes": "1..2",
    "an empty last component": "1.2.",
}
REFUSED = {
    "65 characters": "1." + "2" * 63,
    "dots only": "...",
    "one dot": ".",
    "two dots, a folder": "..",
    "an empty first component": ".1.2",
    "letters": "1.2.x",
    "a slash": "1/2",
    "a space within": "1. 2",
    "a sign": "1.-2",
    "digits of other scripts": "1.\u0662",
    "a superscript": "1.\u00b2",
    "a line break": "1.2\n",
}


def raises(call: Callable[[], object]) -> bool:
    """Return whether a call refuses what it got."""
    try:
        call()
    except (Invalid, ValueError):
        return True
    return False


def by_c_store(uid: str) -> bool:
    stored = []

    class Handler(RefusingHandler):
        def store(self, request: StoreRequest, context: PresentationContext) -> Outcome:
            stored.append(request.sop_instance_uid)
            return Outcome(Status.OUT_OF_RESOURCES)

    values: dict[CommandElement, int | str] = {
        CommandElement.AFFECTED_SOP_CLASS_UID: CT,
        CommandElement.AFFECTED_SOP_INSTANCE_UID: uid,
    }
    command = decode(encode_request(CommandField.C_STORE_RQ, 1, values, data_set=True))
    peer = cast(Any, SimpleNamespace(handler=Handler()))
    StoreOperation(peer, PresentationContext(1, CT, IMPLICIT_VR_LITTLE_ENDIAN), command).start()
    return bool(stored)


def by_association_request(uid: str) -> bool:
    return not raises(lambda: read_uid(b"\x30\0\0\0" + uid.encode("latin-1", "replace")))


def by_proposal(uid: str) -> bool:
    contexts = [RequestedContext(abstract_syntax=uid, transfer_syntaxes=(IMPLICIT_VR_LITTLE_ENDIAN,))]
    return not raises(lambda: encode_associate_rq(Remote(aet="A", host="h", port=1), contexts, RequestorConfig()))


def by_spool(uid: str) -> bool:
    return not raises(IncomingInstance(CT, uid, IMPLICIT_VR_LITTLE_ENDIAN, "A", 0).check_uids)


def by_data_set(uid: str) -> bool:
    data = b"".join(
        explicit(tag, "UI", value.encode("latin-1", "replace") + b"\0" * (len(value) % 2))
        for tag, value in ((0x00080016, CT), (0x00080018, uid), (0x0020000D, "1.2"), (0x0020000E, "1.3"))
    )
    return not raises(lambda: peek_identity(data, EXPLICIT_VR_LITTLE_ENDIAN, complete=True))


def by_search(uid: str) -> bool:
    return not raises(lambda: condition(("StudyInstanceUID",), uid, vr="UI"))


def by_retrieval(uid: str) -> bool:
    keys = {
        "00080052": {"vr": "CS", "Value": ["IMAGE"]},
        "00080018": {"vr": "UI", "Value": [uid.encode("latin-1", "replace").decode("latin-1")]},
    }
    with suppress(UnicodeError, ValueError):
        request = RetrievePlanRequest(
            correlation_id="",
            sop_class_uid=STUDY_ROOT.move,
            transfer_syntax_uid=IMPLICIT_VR_LITTLE_ENDIAN,
            identifier=DatasetEncoder(IMPLICIT_VR_LITTLE_ENDIAN).encode(keys),
        )
        return not raises(lambda: parse_retrieve_identifier(request))
    return False


def by_commitment(uid: str) -> bool:
    placeholder = "9" * len(uid)
    data = encode_commitment(
        CommitmentInformation("1.2", (CommitmentItem(CT, placeholder),)), IMPLICIT_VR_LITTLE_ENDIAN
    )
    data = data.replace(placeholder.encode(), uid.encode("latin-1", "replace"))
    return not raises(lambda: decode_commitment(data, IMPLICIT_VR_LITTLE_ENDIAN))


def by_tool(uid: str, folder: Path) -> bool:
    sinks = InstanceFolder(folder, "A", cast(Any, None))
    request = StoreRequest(1, CT, uid)
    return not isinstance(sinks(request, PresentationContext(1, CT, IMPLICIT_VR_LITTLE_ENDIAN)), Outcome)


def by_stow(uid: str) -> bool:
    uids = {"00080016": CT, "00080018": uid, "0020000D": "1.2.1", "0020000E": "1.2.2"}
    given = json.dumps([{tag: {"vr": "UI", "Value": [value]} for tag, value in uids.items()}]).encode()
    (data_set,) = JsonReader(io.BytesIO(given), 1 << 20, _TEXTS, frozenset()).data_sets()
    return not isinstance(_pending_instance(data_set), AssemblyFailure)


def by_url(uid: str) -> bool:
    return not raises(lambda: uid_of("study", uid))


def by_orthanc(uid: str) -> bool:
    return not raises(lambda: _listed_items({"DicomInstances": [[CT, uid]]}))


DOORS: dict[str, Callable[[str], bool]] = {
    "is_uid": is_uid,
    "C-STORE": by_c_store,
    "A-ASSOCIATE-RQ read": by_association_request,
    "A-ASSOCIATE-RQ written": by_proposal,
    "spool": by_spool,
    "data set": by_data_set,
    "search": by_search,
    "retrieval": by_retrieval,
    "storage commitment": by_commitment,
    "STOW-RS": by_stow,
    "URL": by_url,
    "Orthanc's storage commitment": by_orthanc,
}
STRIPPED = {"a line break": ("STOW-RS",)}
"""Doors that take this for padding around the UID."""


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ACCEPTED)
def test_a_uid_gets_in_at_every_door(name: str, door: str) -> None:
    assert DOORS[door](ACCEPTED[name])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_a_uid_gets_in_at_no_door(name: str, door: str) -> None:
    assert DOORS[door](REFUSED[name]) == (door in STRIPPED.get(name, ()))


@pytest.mark.parametrize("uid", [*ACCEPTED.values(), *REFUSED.values()])
def test_the_receiving_tool_names_files_by_uids_only(uid: str, tmp_path: Path) -> None:
    assert by_tool(uid, tmp_path) == (uid in ACCEPTED.values())
