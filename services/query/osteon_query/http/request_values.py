"""Values out of a request that are checked before use: UIDs, Orthanc identifiers, numbers, the correlation id.

And the warnings about those that are not used.
"""

from collections.abc import Iterable
from typing import Final

from starlette.requests import Request

from osteon.dicom.identity import parse_public_id
from osteon.dicom.uids import is_uid
from osteon.errors import Invalid
from osteon_query.http.errors import BadParameter, UnknownResource

_MAX_NUMBER: Final = 1 << 31
_LIMIT, _MAX_LIMIT = 100, 1_000
_MAX_WARNING: Final = 1000
"""Characters of a warning at most."""


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


def requests_original(request: Request) -> bool:
    """Whether instances are requested as they were received, without what was laid over them (`original=true`)."""
    return request.query_params.get("original", "").lower() in ("1", "true")


def warn(request: Request, service: str, text: str) -> None:
    """Add a Warning to the response, whatever that becomes (PS3.18 8.3.4.4); nothing for an empty text."""
    if text:
        request.state.warnings.append(format_warning(service, text))


def format_warning(service: str, text: str) -> str:
    """Return a value of the header Warning; `text` may quote what the client sent."""
    shown = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text[:_MAX_WARNING])
    return f'299 {service} "{shown}"'


def ignored_parameters(names: Iterable[str]) -> str:
    """Return the warning about query parameters that are not supported."""
    return f"These parameters are not supported and were ignored: {', '.join(name[:80] for name in names)}"


def limit_of(request: Request) -> int:
    """Return how many entries of a list are requested by `limit`: 100 without it, at most 1000."""
    return min(number("limit", request.query_params.get("limit", str(_LIMIT))), _MAX_LIMIT)


def optional_uid(request: Request, name: str) -> str | None:
    """Return the UID of a query parameter; raises `BadParameter` that names it."""
    text = request.query_params.get(name)
    return None if text is None else uid_of(name, text)


def number(name: str, value: str) -> int:
    """Return a parameter that is a whole number of zero or more; raises `BadParameter`."""
    if not value.isascii() or not value.isdecimal() or int(value[:20]) >= _MAX_NUMBER:
        raise BadParameter(f"{name}={value[:80]!r}: expected a whole number from 0 to {_MAX_NUMBER - 1}")
    return int(value)
