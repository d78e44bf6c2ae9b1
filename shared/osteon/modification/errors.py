"""The errors of requests to change stored data."""

from osteon.errors import FailureKind, Invalid, OsteonError


class BadModification(Invalid):
    """A modification contradicts itself, or the data model of DICOM; the message names the attribute or the field."""


class ModificationNotSupported(OsteonError):
    """A modification that would take the place of what is stored."""

    kind = FailureKind.UNSUPPORTED
