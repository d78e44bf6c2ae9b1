"""DIMSE status codes (PS3.7 C, PS3.4 B.2.3 and C.4). The one place that names them."""

from enum import IntEnum


class Status(IntEnum):
    """Status (0000,0900) of a response. `Status(n)` of a value without a name here is a status as well."""

    SUCCESS = 0x0000
    PENDING = 0xFF00
    PENDING_OPTIONAL_KEYS_UNSUPPORTED = 0xFF01
    CANCEL = 0xFE00

    SUB_OPERATIONS_COMPLETE_WITH_FAILURES = 0xB000

    OUT_OF_RESOURCES = 0xA700
    UNABLE_TO_CALCULATE_MATCHES = 0xA701
    UNABLE_TO_PERFORM_SUB_OPERATIONS = 0xA702
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    MOVE_DESTINATION_UNKNOWN = 0xA801
    UNABLE_TO_PROCESS = 0xC000
    CANNOT_UNDERSTAND = 0xC100

    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORIZED = 0x0124
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT_VALUE = 0x0115
    NO_SUCH_ACTION_TYPE = 0x0123
    RESOURCE_LIMITATION = 0x0213
    DUPLICATE_INVOCATION = 0x0210
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    PROCESSING_FAILURE = 0x0110

    @classmethod
    def _missing_(cls, value: object) -> "Status | None":
        # Peers send what they like: not kept among the members, so that they cannot fill the memory.
        if not isinstance(value, int) or not 0 <= value <= 0xFFFF:
            return None
        status = int.__new__(cls, value)
        status._name_, status._value_ = f"STATUS_{value:04X}", value
        return status

    @property
    def words(self) -> str:
        """The number, and what it means if it has a name here: `0xA801 (move destination unknown)`."""
        named = not self.name.startswith("STATUS_")
        return f"0x{self:04X}" + (f" ({self.name.replace('_', ' ').lower()})" if named else "")

    @property
    def is_pending(self) -> bool:
        """More responses follow."""
        return self in {Status.PENDING, Status.PENDING_OPTIONAL_KEYS_UNSUPPORTED}

    @property
    def is_warning(self) -> bool:
        """The operation was performed, with something to say about it (PS3.7 C.3)."""
        return self in {0x0001, 0x0107, 0x0116} or self >> 12 == 0xB

    @property
    def is_failure(self) -> bool:
        """The operation was not performed, nor cancelled."""
        return not (self in {Status.SUCCESS, Status.CANCEL} or self.is_pending or self.is_warning)
