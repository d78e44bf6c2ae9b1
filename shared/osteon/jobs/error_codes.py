"""Why a job failed, in Orthanc's words: its `ErrorCode` and `ErrorDescription`."""

from enum import IntEnum
from typing import Final

from osteon.dimse.errors import NotAccepted
from osteon.errors import Invalid, NotFound, Unavailable


class ErrorCode(IntEnum):
    """Those of Orthanc's codes that jobs end with."""

    INTERNAL_ERROR = -1
    SUCCESS = 0
    BAD_REQUEST = 8
    NETWORK_PROTOCOL = 9
    UNKNOWN_RESOURCE = 17
    CANCELED_JOB = 37


_WORDS: Final = {
    ErrorCode.INTERNAL_ERROR: "Internal error",
    ErrorCode.SUCCESS: "Success",
    ErrorCode.BAD_REQUEST: "Bad request",
    ErrorCode.NETWORK_PROTOCOL: "Error in the network protocol",
    ErrorCode.UNKNOWN_RESOURCE: "Unknown resource",
    ErrorCode.CANCELED_JOB: "This job was canceled",
}


def code_of(error: Exception) -> ErrorCode:
    """Return the code of what a job's work raised."""
    if isinstance(error, Unavailable | NotAccepted):
        return ErrorCode.NETWORK_PROTOCOL
    if isinstance(error, NotFound):
        return ErrorCode.UNKNOWN_RESOURCE
    return ErrorCode.BAD_REQUEST if isinstance(error, Invalid) else ErrorCode.INTERNAL_ERROR


def description_of(code: int) -> str:
    """Return what Orthanc says of a code."""
    return _WORDS[ErrorCode(code)] if code in set(ErrorCode) else _WORDS[ErrorCode.INTERNAL_ERROR]
