"""A queue that exists with other properties is named with the property and the remedy."""

import pytest

from osteon.bus.rabbit_session import explain_mismatch

AGAIN = "Osteon declares it again; spool and sweep find what its messages announced"


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (
            "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'indexer' in vhost '/': received the "
            "value '20' of type 'signedint' but current is the value '5' of type 'signedint'",
            "the queue 'indexer' exists with x-delivery-limit = 5, where Osteon needs 20. "
            "Stop the services, then: rabbitmqctl delete_queue -p / indexer. " + AGAIN,
        ),
        (
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'writer.spool' in vhost 'v': received the "
            "value 'quorum' of type 'longstr' but current is none",
            "the queue 'writer.spool' exists with x-queue-type = none, where Osteon needs quorum. "
            "Stop the services, then: rabbitmqctl delete_queue -p v writer.spool. " + AGAIN,
        ),
        (
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'osteon' in vhost '/': received 'topic' but "
            "current is 'fanout'",
            "the exchange 'osteon' exists with type = fanout, where Osteon needs topic. "
            "Stop the services, then: delete the exchange. " + AGAIN,
        ),
        ("PRECONDITION_FAILED - something else", "PRECONDITION_FAILED - something else"),
    ],
    ids=["value", "absent", "exchange", "other"],
)
def test_the_refusal_becomes_what_is_wrong_and_what_to_do(refusal: str, said: str) -> None:
    assert explain_mismatch(refusal) == said
