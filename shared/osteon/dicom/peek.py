"""The identity of a data set from its first bytes, for the hot path of storing: nothing is decoded but identifiers.

Elements stand in ascending order (PS3.5 7.1), so all identifiers are found before group 0022, long before pixel data.
Where they do not, or where one is missing, the search goes on; what is damaged behind the UIDs is of no consequence.
"""

from typing import Final

from osteon.dicom.charset import character_set
from osteon.dicom.deflate import inflate_beginning
from osteon.dicom.elements import (
    MAX_SKIPPED_ELEMENTS,
    element_head,
    find_next_element,
    nested_encoding,
    skip_undefined,
)
from osteon.dicom.encoding import (
    MORE_TO_COME,
    SHORT_VRS,
    UNDEFINED,
    Buffer,
    Encoding,
    actual_encoding,
    declared_encoding,
)
from osteon.dicom.errors import BadDataSet, TruncatedDataSet
from osteon.dicom.identity import Identity, require_uid
from osteon.dicom.uids import transfer_syntax

_CHARACTER_SET: Final = 0x00080005
_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
_PATIENT_ID: Final = 0x00100020
_STUDY: Final = 0x0020000D
_SERIES: Final = 0x0020000E
_WANTED: Final = frozenset((_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE, _PATIENT_ID, _STUDY, _SERIES))
_UIDS: Final = {
    _SOP_CLASS: "SOP Class UID (0008,0016)",
    _SOP_INSTANCE: "SOP Instance UID (0008,0018)",
    _STUDY: "Study Instance UID (0020,000D)",
    _SERIES: "Series Instance UID (0020,000E)",
}
_PIXEL_DATA: Final = 0x7FE00008
"""The first of the elements with pixel data: Patient ID and Specific Character Set are not looked for behind them."""
_ENOUGH: Final = len(_WANTED) - 1
"""Wanted elements of a data set that has what it needs: Specific Character Set may be absent."""
_LONGEST: Final = 1024
"""Bytes of an identifier. The standard allows 64 characters, which take at most some hundred bytes."""

_INFLATED: Final = 1 << 20
"""How much of a deflated data set is inflated to look for its identifiers, in bytes."""

_MOST_ELEMENTS: Final = 1 << 16
"""Elements of the data set itself that are looked at: real ones have some hundred before the identifiers."""

_MAX_SKIPPED_BYTES: Final = 64 << 20
"""Bytes of values of undefined length, which are walked through, before the last identifier."""

_MAX_FAULTS: Final = 16
"""Damaged elements before the last identifier that are passed over."""


def peek_identity(
    data: Buffer,
    transfer_syntax_uid: str,
    *,
    complete: bool,
    max_skipped_elements: int = MAX_SKIPPED_ELEMENTS,
    max_skipped_bytes: int = _MAX_SKIPPED_BYTES,
) -> Identity | None:
    """Read the identity of a data set from its first bytes.

    Returns None when `data` does not reach far enough; call again with more, from the first byte on. `complete` says
    that there is no more. Padding is stripped; a data set without Patient ID has an empty one. The UIDs are found
    wherever they stand among the first 65,536 elements, Patient ID and Specific Character Set before pixel data;
    damaged elements in front of them are passed over where it is plain to see what follows. The limits are for values
    of undefined length: elements of each, and bytes of all.

    Raises `MissingIdentifier` when a UID is absent or invalid, `BadDataSet` when the data cannot be read up to there,
    and `UnknownTransferSyntax`.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    fault = ""
    if syntax.deflated:
        data, ended, fault = inflate_beginning(data, _INFLATED)
        complete = complete or ended or bool(fault) or len(data) >= _INFLATED
    search = _Search(data, complete=complete, max_elements=max_skipped_elements, max_skipped=max_skipped_bytes)
    try:
        reached = search.run(declared_encoding(syntax))
    except TruncatedDataSet as error:
        if not complete:
            return None
        if fault:
            raise BadDataSet(f"cannot be inflated: {fault}", error.tag, error.offset) from None
        raise
    return _identity(search.found) if reached or complete else None


class _Search:
    """A walk over the elements of a data set for the wanted ones, whose raw values are in `found`."""

    def __init__(self, data: Buffer, *, complete: bool, max_elements: int, max_skipped: int) -> None:
        self.found: dict[int, bytes] = {}
        self._data = data
        self._complete = complete
        self._stop = len(data) if complete else MORE_TO_COME
        self._max_elements = max_elements
        self._skippable = max_skipped
        self._steps = _MOST_ELEMENTS
        self._position = self._value = self._resumed = 0
        self._sequence = -1

    def run(self, encoding: Encoding) -> bool:
        """Walk until nothing is missing (True) or the data ends. Raises `BadDataSet` where it cannot be read."""
        position = 0
        encoding = actual_encoding(self._data, 0, encoding, self._stop)
        for _ in range(_MAX_FAULTS):
            try:
                return self._collect(position, encoding)
            except BadDataSet as error:
                if self._has_uids():
                    return self._complete or not isinstance(error, TruncatedDataSet)
                if not self._steps or not self._skippable or not encoding.explicit:
                    raise
                if not self._complete:
                    return False
                following = self._behind_fault(encoding, error)
                if following is None:
                    raise
                position = following
        raise BadDataSet(f"more than {_MAX_FAULTS} damaged elements before the identifiers", "", position)

    def _collect(self, position: int, encoding: Encoding) -> bool:
        """Walk from `position` on, leaving off at the first fault."""
        data, size, found = self._data, len(self._data), self.found
        explicit, head = encoding.explicit, encoding.head.unpack_from
        steps, start, last_head = self._steps, position, size - 8 if explicit else -1
        try:
            for steps in range(self._steps - 1, 0, -1):  # noqa: B007  (what is left of them is kept below)
                if position >= size:
                    break
                # Almost every element takes the first way; `element_head` for all would take three times as long.
                if position <= last_head and (fields := head(data, position))[2] in SHORT_VRS:
                    group, element, vr, length = fields
                    tag, start = group << 16 | element, position + 8
                else:
                    tag, vr, start, length = element_head(data, position, encoding, self._stop)
                    self._sequence = position if vr == b"SQ" else self._sequence
                if tag > _SERIES and self._is_past(tag):
                    return True
                if length == UNDEFINED:
                    position = self._skip(tag, start, nested_encoding(vr, encoding))
                    continue
                position = start + length
                if tag in _WANTED:
                    if length > _LONGEST or position > size:
                        self._refuse(tag, start, length)
                        continue
                    found.setdefault(tag, bytes(data[start:position]))
                    if len(found) > _ENOUGH or (len(found) == _ENOUGH and self._has_all()):
                        return True
            if position < size:
                steps = 0
                raise BadDataSet(f"more than {_MOST_ELEMENTS} elements before the identifiers", "", position)
            if position > size:
                raise TruncatedDataSet("the data set ends within the value", f"{tag:08X}", start)
        finally:
            self._steps, self._position, self._value = steps, position, start
        return False

    def _refuse(self, tag: int, start: int, length: int) -> None:
        """Raise for a wanted value that is too long, unless it can be done without, or is not there to its end."""
        if length <= _LONGEST:
            raise TruncatedDataSet("the data set ends within the value", f"{tag:08X}", start)
        if tag in _UIDS:
            raise BadDataSet(f"an identifier of {length} bytes", f"{tag:08X}", start)

    def _is_past(self, tag: int) -> bool:
        """Whether the UIDs are there, and what else is missing is not looked for from this element on."""
        return (tag >= _PIXEL_DATA or _PATIENT_ID in self.found) and self._has_uids()

    def _skip(self, tag: int, start: int, encoding: Encoding) -> int:
        end = skip_undefined(self._data, start, encoding, self._max_elements, self._stop)
        self._skippable -= end - start
        if self._skippable < 0:
            self._skippable = 0
            raise BadDataSet("too many bytes of sequences before the identifiers", f"{tag:08X}", start)
        return end

    def _behind_fault(self, encoding: Encoding, fault: BadDataSet) -> int | None:
        """Return where the data set goes on behind the fault: a length may have been wrong before it shows."""
        for position in (self._sequence, self._position, self._value - 8, self._value - 12):
            if self._resumed <= position < self._stop:
                following = find_next_element(self._data, position, encoding, self._stop, fault)
                if following is not None:
                    self._resumed = following
                    return following
        return None

    def _has_uids(self) -> bool:
        return _UIDS.keys() <= self.found.keys()

    def _has_all(self) -> bool:
        """Whether all that is needed is there: text in ASCII needs no character set."""
        patient = self.found.get(_PATIENT_ID)
        return (
            patient is not None
            and self._has_uids()
            and (_CHARACTER_SET in self.found or (patient.isascii() and b"\x1b" not in patient))
        )


def _identity(found: dict[int, bytes]) -> Identity:
    uids = []
    for tag, name in _UIDS.items():
        uids.append(require_uid(name, found.get(tag, b"").strip(b" \0").decode("latin-1")))
    sop_class, sop, study, series = uids
    raw = found.get(_PATIENT_ID, b"")
    patient = raw.decode() if raw.isalnum() else character_set(found.get(_CHARACTER_SET, b"")).decode(raw)[0]
    return Identity(patient.strip(" \0"), study, series, sop, sop_class)
