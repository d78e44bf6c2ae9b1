"""Errors that only the HTTP door has; `problems.py` alone knows their status codes."""

from osteon.errors import Invalid, NotFound, OsteonError, Unavailable


class BadParameter(Invalid):
    """A query parameter, path part or body field can not be used; the message names it."""


class BadBody(Invalid):
    """The body is not what its Content-Type promises."""


class UnknownResource(NotFound):
    """No resource has this URL."""


class NotAcceptable(Invalid):
    """None of the media types that the client accepts can be made."""


class UnsupportedMediaType(Invalid):
    """The body's Content-Type or Content-Encoding is none that this resource takes."""


class TooLarge(Invalid):
    """The body is longer than the limit; the message names the setting."""


class TooBroad(Invalid):
    """A search leaves more to be compared than one request may ask for; the message names the keys."""


class TooSlow(Invalid):
    """The body comes so slowly that it keeps others from their turn."""


class RangeNotSatisfiable(Invalid):
    """The byte range asked for lies beyond the end."""


class UploadCapacityExceeded(Unavailable):
    """No upload can be taken now: too many at the same time, or no space for their files."""


class NotYetIndexed(Unavailable):
    """An upload is stored but was not indexed in time; it will be, and sending it again is safe."""


class TranscodeUnavailable(Unavailable):
    """`imaging` does not answer; later it may."""


class NotRenderable(Invalid):
    """There can be no picture of an instance; the message says why."""


class RenderFailed(OsteonError):
    """`imaging` could not make a picture: its decoder crashed or wanted too much memory."""


class RenderTimeout(OsteonError):
    """A picture took too long."""


class StoredDataUnreadable(OsteonError):
    """The index names an object that the store does not have: what it held can not be served."""


class RemoteFailed(OsteonError):
    """A modality or a peer did not do what it was asked for; the message says which and why."""


class NotSupported(OsteonError):
    """What is asked for can not be done here; the message says why."""


class JobFailed(OsteonError):
    """A job that somebody waited for has failed; the message says which and why."""
