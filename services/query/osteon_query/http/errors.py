"""Errors that only the HTTP API has; `problems.py` alone knows their status codes."""

from osteon.errors import Invalid, NotFound, OsteonError, Unavailable


class BadParameter(Invalid):
    """A query parameter, path part or body field cannot be used; the message names it."""


class BadBody(Invalid):
    """The body is not what its Content-Type promises."""


class UnknownResource(NotFound):
    """No resource has this URL."""


class UnknownItem(NotFound):
    """A name stands for nothing, whatever the resource."""


class NotAcceptable(Invalid):
    """None of the media types that the client accepts is available."""


class UnsupportedMediaType(Invalid):
    """The body's Content-Type or Content-Encoding is not supported by this resource."""


class TooLarge(Invalid):
    """The body is longer than the limit; the message names the setting."""


class TooBroad(Invalid):
    """A search leaves more candidates than one request may read; the message names the keys."""


class TooSlow(Invalid):
    """The body arrives too slowly, so that it blocks other requests."""


class RangeNotSatisfiable(Invalid):
    """The requested byte range starts beyond the end of `total` bytes."""

    def __init__(self, message: str, total: int) -> None:
        super().__init__(message)
        self.total = total


class UploadCapacityExceeded(Unavailable):
    """No upload can be accepted now: too many are in progress, or there is no space for their files."""


class ArchiveCapacityExceeded(Unavailable):
    """No archive can be made now: too many are in progress."""


class ClientUploadsExceeded(OsteonError):
    """A client has as many uploads in progress as one may have; others are not affected."""


class NotYetIndexed(Unavailable):
    """An upload is stored but was not indexed in time; it will be, and sending it again is safe."""


class TranscodeUnavailable(Unavailable):
    """`imaging` does not reply; a retry may succeed."""


class NotRenderable(Invalid):
    """An instance cannot be rendered; the message says why."""


class DamagedData(NotRenderable):
    """Stored data is damaged so that nothing of what was requested can be made of it."""


class RenderFailed(OsteonError):
    """`imaging` could not render: its worker was killed, or it has a fault."""


class RenderTimeout(OsteonError):
    """Rendering took longer than `OSTEON_RENDER_SECONDS`."""


class StoredDataUnreadable(OsteonError):
    """The index names an object that the store does not have: what it held cannot be served."""


class RemoteFailed(OsteonError):
    """A request to a modality or a peer failed; the message says which and why."""


class NotSupported(OsteonError):
    """The operation is not supported; the message says why."""


class Forbidden(OsteonError):
    """An operation that this archive never does for clients; the message says what to do instead."""


class JobFailed(OsteonError):
    """A job failed while its submitter waited for it; the message says which and why."""
