"""The errors of reading DICOM data. All are `Invalid`: the same bytes fail again."""

from osteon.errors import FailureKind, Invalid


class BadDataSet(Invalid):
    """A data set contradicts itself, or asks for more than a header may take.

    Attributes:
        tag: path of the element that could not be read, `00400275[0].00400009` when nested; may be empty.
        offset: of that element, in bytes from the data set's first byte (of the inflated bytes when deflated).
    """

    kind = FailureKind.UNREADABLE

    def __init__(self, reason: str, tag: str, offset: int) -> None:
        super().__init__(f"{tag or 'data set'} at byte {offset}: {reason}")
        self.reason = reason
        self.tag = tag
        self.offset = offset


class TruncatedDataSet(BadDataSet):
    """A data set ends within the element at `offset`."""


class HeaderTooLong(BadDataSet):
    """A header has more bytes, elements or items than are read of one data set."""


class BadPart10(Invalid):
    """What should be a DICOM file has no file meta information that can be used (PS3.10 7.1)."""


class UnknownTransferSyntax(Invalid):
    """A transfer syntax that is not in `osteon.dicom.uids`: how its data sets are encoded is not known."""

    kind = FailureKind.UNREADABLE
