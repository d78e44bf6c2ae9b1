"""Values out of a request that are checked before use: UIDs, Orthanc identifiers, numbers, the correlation id."""

from typing import Final

from starlette.requests import Request

from osteon.dicom.identity import parse_public_id
from osteon.dicom.uids import is_uid
from osteon.errors import Invalid
from osteon_query.http.errors import BadParameter, UnknownResource

_MAX_NUMBER: Final = 1 << 31


def uid_of(name: str, text: str) -> str:
    """Check a UID of a path; raises `BadParameter` that names it."""
    if not is_uid(text):
        raise BadParameter(
            f"{name} in the URL is invalid: expected a UID of at most 64 digits and dots, got {text[:80]!r}"
        )
    return text


def resource_id(text: str) -> str:
    """Check an Orthanc identifier of a path; raises `UnknownResource`, as no resource can have another form."""
    try:
        parse_public_id(text)
    except Invalid as error:
        raise UnknownResource(str(error)) from None
    return text.lower()


def correlation_id(request: Request) -> str:
    """Return the id that follows this request."""
    value: str = request.state.correlation_id
    return value


def number(name: str, value: str) -> int:
    """Return a parameter that is a whole number of zero or more; raises `BadParameter`."""
    if not value.isascii() or not value.isdecimal() or int(value[:20]) >= _MAX_NUMBER:
        raise BadParameter(f"{name}={value[:80]!r}: expected a whole number from 0 to {_MAX_NUMBER - 1}")
    return int(value)
