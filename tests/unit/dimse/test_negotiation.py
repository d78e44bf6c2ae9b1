import pytest
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from osteon.dicom.uids import GE_BIG_ENDIAN_PIXELS, TRANSFER_SYNTAXES
from osteon.dimse import associate_rq, negotiation
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.negotiation import Agreement
from osteon.dimse.observer import RejectReason
from osteon.dimse.pdu import ProtocolError
from osteon.dimse.sop_classes import ServiceClass
from support.dimse.raw_peer import CT, EXPLICIT, IMPLICIT, MR, STUDY_FIND, VERIFICATION, pdu, request_pdu

J2K = "1.2.840.10008.1.2.4.90"
BIG = "1.2.840.10008.1.2.2"
PRIVATE = "1.2.276.0.7230010.3.1.0.99"


def agreed(encoded: bytes, **config: object) -> Agreement:
    return negotiation.agree(AcceptorConfig(**config), associate_rq.decode(encoded[6:]), encoded[6:])


def answer_to(encoded: bytes, **config: object) -> A_ASSOCIATE_AC:
    answer = A_ASSOCIATE_AC()
    answer.decode(agreed(encoded, **config).answer)
    return answer


def results(encoded: bytes, **config: object) -> list[tuple[int, str | None]]:
    return [(item.result, item.transfer_syntax) for item in answer_to(encoded, **config).presentation_context]


def refusal(encoded: bytes, **config: object) -> RejectReason | None:
    return negotiation.refuse(AcceptorConfig(**config), associate_rq.decode(encoded[6:]))


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ([J2K, EXPLICIT, IMPLICIT], J2K),
        ([EXPLICIT, J2K], EXPLICIT),
        ([BIG, EXPLICIT], BIG),
        ([IMPLICIT, EXPLICIT], EXPLICIT),
        ([IMPLICIT, J2K], IMPLICIT),
        (["1.2.3.4", IMPLICIT], IMPLICIT),
        ([GE_BIG_ENDIAN_PIXELS, IMPLICIT, EXPLICIT], EXPLICIT),
        ([GE_BIG_ENDIAN_PIXELS, J2K], J2K),
        ([GE_BIG_ENDIAN_PIXELS], GE_BIG_ENDIAN_PIXELS),
    ],
)
def test_the_first_usable_transfer_syntax_is_taken_but_explicit_instead_of_implicit_and_ges_last(
    proposed: list[str], chosen: str
) -> None:
    assert results(request_pdu([(CT, proposed)])) == [(0, chosen)]


def test_every_storage_sop_class_of_pynetdicom_is_accepted() -> None:
    for context in AllStoragePresentationContexts:
        assert results(request_pdu([(context.abstract_syntax, [EXPLICIT])])) == [(0, EXPLICIT)]


def test_every_transfer_syntax_of_a_data_set_is_accepted_for_storage() -> None:
    refused = {
        uid: syntax.name
        for uid, syntax in TRANSFER_SYNTAXES.items()
        if results(request_pdu([(CT, [uid])])) != [(0, uid)]
    }
    assert sorted(refused.values()) == [
        "RFC 2557 MIME encapsulation",
        "SMPTE ST 2110-20 Uncompressed Interlaced Active Video",
        "SMPTE ST 2110-20 Uncompressed Progressive Active Video",
        "SMPTE ST 2110-30 PCM Digital Audio",
        "XML Encoding",
    ]


def test_queries_take_uncompressed_transfer_syntaxes_only() -> None:
    assert results(request_pdu([(STUDY_FIND, [J2K])]))[0][0] == 4
    assert results(request_pdu([(STUDY_FIND, [J2K, EXPLICIT])])) == [(0, EXPLICIT)]


@pytest.mark.parametrize(
    ("sop_class", "config", "accepted"),
    [
        (PRIVATE, {}, True),
        (PRIVATE, {"store_unknown_sop_classes": False}, False),
        (PRIVATE, {"store_unknown_sop_classes": False, "extra_sop_classes": (PRIVATE,)}, True),
        ("1.2.840.10008.5.1.4.1.1.999.1", {}, True),
        ("1.2.840.10008.5.1.4.77.1", {}, False),
        ("1.2.840.10008.5.1.4.1.1.5", {}, True),
        ("1.2.840.10008.5.1.4.31", {}, False),
        ("1.2.840.10008.5.1.4.38.1", {}, False),
        ("1.2.840.10008.3.1.2.3.3", {}, False),
        ("1.2.840.10008.1.3.10", {}, False),
    ],
    ids=[
        "private",
        "private, switched off",
        "private, configured",
        "newer storage class",
        "newer something",
        "retired storage",
        "worklist",
        "hanging protocol",
        "performed procedure step",
        "DICOMDIR",
    ],
)
def test_sop_classes_that_are_no_known_service_are_stored_when_the_settings_say_so(
    sop_class: str, config: dict[str, object], accepted: bool
) -> None:
    assert results(request_pdu([(sop_class, [EXPLICIT])]), **config)[0][0] == (0 if accepted else 3)


@pytest.mark.parametrize(
    ("service", "result"), [("1.2.840.10008.4.2", 0), ("1.2.840.10008.4.99", 3)], ids=["storage", "another"]
)
def test_common_extended_negotiation_tells_whether_an_unknown_sop_class_is_storage(service: str, result: int) -> None:
    item = SOPClassCommonExtendedNegotiation()
    item.sop_class_uid, item.service_class_uid = PRIVATE, service
    item.related_general_sop_class_identification = [CT]
    for unknown in (True, False):
        encoded = request_pdu([(PRIVATE, [EXPLICIT])], item)
        assert results(encoded, store_unknown_sop_classes=unknown)[0][0] == result


def test_128_contexts_are_negotiated() -> None:
    asked = [(CT, [EXPLICIT])] * 126 + [("1.2.840.10008.5.1.4.31", [EXPLICIT]), (MR, ["1.2.3"])]
    agreement = agreed(request_pdu(asked))
    assert sorted(agreement.contexts) == list(range(1, 253, 2))
    assert [result for result, _ in results(request_pdu(asked))] == [0] * 126 + [3, 4]


def test_roles_grant_scu_and_refuse_scp_for_storage() -> None:
    both, scp = SCP_SCU_RoleSelectionNegotiation(), SCP_SCU_RoleSelectionNegotiation()
    both.sop_class_uid, both.scu_role, both.scp_role = CT, True, True
    scp.sop_class_uid, scp.scu_role, scp.scp_role = MR, False, True
    answer = answer_to(request_pdu([(CT, [EXPLICIT]), (MR, [EXPLICIT])], both, scp))
    roles = answer.user_information.role_selection
    assert {uid: (item.scu_role, item.scp_role) for uid, item in roles.items()} == {CT: (1, 0)}
    assert [item.result for item in answer.presentation_context] == [0, 1]


@pytest.mark.parametrize(("asked", "granted"), [((8, 3), (8, 1)), ((0, 0), (16, 1)), ((99, 1), (16, 1))])
def test_the_asynchronous_operations_window_is_the_lesser_of_both(
    asked: tuple[int, int], granted: tuple[int, int]
) -> None:
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked, item.maximum_number_operations_performed = asked
    encoded = request_pdu(None, item)
    got = answer_to(encoded).user_information.async_ops_window
    assert (got.maximum_number_operations_invoked, got.maximum_number_operations_performed) == granted
    assert agreed(encoded).window == granted[0]


def test_without_asynchronous_operations_the_window_is_one_and_not_answered() -> None:
    assert answer_to(request_pdu()).user_information.async_ops_window is None
    assert agreed(request_pdu()).window == 1


@pytest.mark.parametrize(
    ("asked", "offer", "answer"),
    [
        (b"\1\1\1\1", b"\1\1\1\1", b"\1\1\1\1"),
        (b"\1\0\1", b"\1\1\1\1", b"\1\0\1"),
        (b"\1\1\1\1\1", b"\1\0\1\1", b"\1\0\1\1\0"),
    ],
)
def test_extended_negotiation_of_queries_is_what_both_can(asked: bytes, offer: bytes, answer: bytes) -> None:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = STUDY_FIND, asked
    encoded = request_pdu([(STUDY_FIND, [EXPLICIT])], item)
    assert answer_to(encoded, query_options=offer).user_information.ext_neg[0].app_info == answer
    context = agreed(encoded, query_options=offer).contexts[1]
    assert context.service is ServiceClass.QUERY
    assert context.context.extended == answer


def test_extended_negotiation_of_storage_promises_every_attribute_and_its_exact_bytes() -> None:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = CT, bytes((1, 0, 0, 0, 1, 0))
    answer = answer_to(request_pdu(None, item))
    assert answer.user_information.ext_neg[0].app_info == bytes((2, 0, 3, 0, 0, 0))


@pytest.mark.parametrize(
    ("kind", "wanted", "answered"), [(1, True, True), (2, True, True), (1, False, False), (4, True, False)]
)
def test_a_user_name_is_confirmed_when_asked(kind: int, wanted: bool, answered: bool) -> None:
    item = UserIdentityNegotiation()
    item.user_identity_type, item.positive_response_requested = kind, wanted
    item.primary_field, item.secondary_field = b"reader", b"secret" if kind == 2 else b""
    encoded = request_pdu(None, item)
    user = answer_to(encoded).user_information.user_identity
    assert (user is not None and not user.server_response) is answered
    identity = associate_rq.decode(encoded[6:]).user_identity
    assert identity is not None
    assert identity.user == ("reader" if kind < 3 else "")
    assert "secret" not in repr(identity)


def test_what_can_be_refused_is_refused_with_the_reason_of_table_9_21() -> None:
    good = request_pdu(called="OTHER", calling="SCANNER")
    no_version = good[:6] + b"\0\2" + good[8:]
    assert refusal(good) is None
    assert refusal(no_version) is RejectReason.PROTOCOL_VERSION_NOT_SUPPORTED
    assert refusal(good.replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9")) is (
        RejectReason.APPLICATION_CONTEXT_NOT_SUPPORTED
    )
    assert refusal(good, check_called_aet=True) is RejectReason.CALLED_AET_NOT_RECOGNIZED
    assert refusal(good, allowed_aets=("OTHER",)) is RejectReason.CALLING_AET_NOT_RECOGNIZED
    assert refusal(good, allowed_aets=("A", "SCANNER"), aet="OTHER", check_called_aet=True) is None


def test_a_peer_that_takes_no_bytes_is_refused() -> None:
    encoded = request_pdu().replace(b"\x51\0\0\4\0\0\x40\0", b"\x51\0\0\4\0\0\0\6")
    assert refusal(encoded) is RejectReason.NO_REASON


def test_ae_titles_go_back_byte_by_byte() -> None:
    encoded = bytearray(request_pdu())
    encoded[10:42] = b"  called        caf\xe9            "
    asked = associate_rq.decode(bytes(encoded[6:]))
    assert (asked.called_aet, asked.calling_aet) == ("called", "caf\xe9")
    assert agreed(bytes(encoded)).answer[10:42] == encoded[10:42]


def test_unknown_items_are_skipped() -> None:
    plain = request_pdu()
    extra = b"\x77\0\0\3abc"
    encoded = pdu(1, plain[6:74] + extra + plain[74:])
    assert results(encoded) == results(plain)


def test_a_context_that_cannot_be_read_costs_only_itself() -> None:
    plain = request_pdu([(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])])
    encoded = plain.replace(CT.encode(), b"\xff" * len(CT))
    assert [result for result, _ in results(encoded)] == [3, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:60],
        lambda body: body[:-1],
        lambda body: body + b"\x20\0\xff\xff",
        lambda body: body.replace(b"\x51\0\0\4", b"\x51\0\0\5"),
        lambda body: body[: body.index(CT.encode()) - 8] + b"\2" + body[body.index(CT.encode()) - 7 :],
    ],
    ids=["too short", "cut", "item too long", "sub-item shifted", "even id"],
)
def test_a_request_of_broken_structure_is_a_protocol_error(change: object) -> None:
    body = request_pdu([(CT, [EXPLICIT])])[6:]
    changed = change(body)  # type: ignore[operator]
    assert changed != body
    with pytest.raises(ProtocolError):
        associate_rq.decode(changed)


def test_the_request_of_the_helper_is_what_pynetdicom_reads() -> None:
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(request_pdu())
    assert decoded.called_ae_title == "OSTEON"
