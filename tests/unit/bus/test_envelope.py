"""`osteon.bus.envelope` and its AMQP form."""

import json
from types import SimpleNamespace

import pytest
from pamqp.decode import field_table as decode_table
from pamqp.encode import field_table as encode_table

from osteon.bus.envelope import BadMessage, DeadLetter, Envelope, History, decode, describe, encode
from osteon.bus.rabbit_messages import to_dead_message, to_envelope, to_message
from osteon.contracts.find import FindPageRequest
from osteon.contracts.packs import PackSealed, PackStored
from osteon.contracts.topology import MESSAGES, binding_key, routing_key
from support.bus.messages import find, sealed, work_queue

QUEUE = work_queue()


def test_a_message_survives_encoding() -> None:
    message = sealed(QUEUE)
    assert decode(encode(message), PackSealed) == message


def test_bytes_survive_encoding() -> None:
    message = find(bytes(range(256)))
    assert decode(encode(message), FindPageRequest).identifier == bytes(range(256))


def test_a_field_of_a_newer_release_is_ignored() -> None:
    envelope = encode(sealed(QUEUE))
    newer = Envelope(envelope.type, json.dumps(json.loads(envelope.body) | {"colour": "blue"}).encode(), "c")
    assert decode(newer, PackSealed).pack_id


@pytest.mark.parametrize(
    ("envelope", "said"),
    [
        (Envelope("", b"{}", ""), "without a type"),
        (Envelope("PackStored", b"{}", ""), "PackStored where PackSealed was expected"),
        (Envelope("PackSealed", b"{", ""), "Invalid JSON"),
        (Envelope("PackSealed", b"\xff\xfe", ""), "Invalid JSON"),
        (Envelope("PackSealed", b"{}", ""), "correlation_id: Field required"),
    ],
)
def test_a_letter_that_is_no_such_message_is_named(envelope: Envelope, said: str) -> None:
    with pytest.raises(BadMessage, match=said):
        decode(envelope, PackSealed)


def test_texts_that_amqp_cannot_carry_are_cut_and_cleaned() -> None:
    history = History(1, 1, describe(ValueError("\udc80" + "x" * 10_000)), "")
    envelope = Envelope("PackSealed", b"{}", "Müller " * 100, history=history)
    message = to_dead_message(DeadLetter(envelope, "q", "attempts"))
    assert message.properties.marshal()
    assert len((message.correlation_id or "").encode()) <= 255


def test_a_message_is_persistent_and_says_what_it_is() -> None:
    message = to_message(encode(sealed(QUEUE, "n")))
    assert (message.type, message.correlation_id, message.delivery_mode) == ("PackSealed", "c-n", 2)


def test_the_moment_of_publication_survives_amqp_to_the_microsecond() -> None:
    sent = encode(sealed(QUEUE))
    properties = to_message(sent).properties
    _, carried = decode_table(encode_table(properties.headers))
    incoming = SimpleNamespace(
        headers=carried, message_id=sent.id, body=sent.body, type=sent.type, correlation_id=sent.correlation_id
    )
    assert to_envelope(incoming).published == pytest.approx(sent.published, rel=0, abs=1e-5)  # type: ignore[arg-type]


def test_every_published_type_is_matched_by_its_own_pattern() -> None:
    assert {binding_key(kind) for name, kind in MESSAGES.items() if name.startswith("Pack")} == {
        "pack.sealed.#",
        "pack.stored",
        "pack.indexed",
    }
    assert routing_key(sealed(QUEUE)).startswith("pack.sealed.")
    with pytest.raises(TypeError):
        binding_key(FindPageRequest)
    assert binding_key(PackStored) == "pack.stored"
