import pytest
from pynetdicom.fsm import TRANSITION_TABLE

from osteon.dimse.fsm import State, action_for
from osteon.dimse.pdu import PduType

EVENTS = {
    "Evt3": PduType.ASSOCIATE_AC,
    "Evt4": PduType.ASSOCIATE_RJ,
    "Evt6": PduType.ASSOCIATE_RQ,
    "Evt10": PduType.P_DATA_TF,
    "Evt12": PduType.RELEASE_RQ,
    "Evt13": PduType.RELEASE_RP,
    "Evt16": PduType.ABORT,
    "Evt19": PduType.UNRECOGNIZED,
}


@pytest.mark.parametrize("state", [state for state in State if state is not State.IDLE])
@pytest.mark.parametrize("event", EVENTS)
def test_every_pdu_causes_in_every_state_the_action_of_table_9_10(state: State, event: str) -> None:
    assert action_for(state, EVENTS[event]).value == TRANSITION_TABLE[event, f"Sta{state.value}"]
