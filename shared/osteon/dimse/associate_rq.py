"""Reads A-ASSOCIATE-RQ (PS3.8 9.3.2 and Annex D, PS3.7 D.3.3) item by item, so that one bad item costs only itself."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from osteon.dicom.uids import is_uid
from osteon.dimse.pdu import ProtocolError

FIXED_PART = 68
"""Bytes of the body before its items."""
_ITEM = struct.Struct(">BxH")
_LENGTH = struct.Struct(">H")
_APPLICATION_CONTEXT = 0x10
_PRESENTATION_CONTEXT = 0x20
_ABSTRACT_SYNTAX = 0x30
TRANSFER_SYNTAX = 0x40
USER_INFORMATION = 0x50
_MAXIMUM_LENGTH = 0x51
_IMPLEMENTATION_CLASS = 0x52
_ASYNC_OPERATIONS = 0x53
_ROLE_SELECTION = 0x54
_IMPLEMENTATION_VERSION = 0x55
_EXTENDED = 0x56
_COMMON_EXTENDED = 0x57
_USER_IDENTITY = 0x58
_MANDATORY = {_MAXIMUM_LENGTH}
_MOST_USER_ITEMS = 1024
"""128 contexts can have 128 items of each kind; half a megabyte of the shortest ones would hold up all others."""
_MOST_ITEMS = 16_384
"""Items of a request and of its presentation contexts: 128 contexts of every transfer syntax have half as many."""
_LONGEST_NAME = 64
"""Characters of a version name (16 by PS3.7 D.3.3.2.3) or a user name that are kept."""
_MOST_SKIPPED = 10


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as it was proposed; one that could not be read has no abstract syntax."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: list[str]


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who the requestor claims to be (PS3.7 D.3.3.7); secrets are not kept."""

    kind: int
    user: str
    wants_response: bool


@dataclass(slots=True, kw_only=True)
class UserInformation:
    """The User Information item of either side (PS3.8 Annex D). The dictionaries are by SOP class UID."""

    items: int = 0
    """How many there were."""
    max_pdu: int = 0
    implementation_uid: str = ""
    implementation_version: str = ""
    async_operations: tuple[int, int] | None = None
    """Operations invoked and performed; 0: unlimited. None when not negotiated."""
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    """SCU and SCP role of the requestor."""
    extended: dict[str, bytes] = field(default_factory=dict)
    service_classes: dict[str, str] = field(default_factory=dict)
    user_identity: UserIdentity | None = None
    skipped: list[str] = field(default_factory=list)
    """What was left out because it could not be read, for the log: the first ten things."""

    def skip(self, what: str, why: object) -> None:
        """Record something that is left out."""
        if len(self.skipped) < _MOST_SKIPPED:
            self.skipped.append(f"{what}: {why}"[:200])


@dataclass(slots=True, kw_only=True)
class AssociateRequest(UserInformation):
    """A-ASSOCIATE-RQ: who calls whom, and the presentation contexts that are proposed."""

    protocol_version: int
    called_aet: str
    calling_aet: str
    application_context: str = ""
    contexts: list[ProposedContext] = field(default_factory=list)
    proposed_items: int = 0
    """Items so far, those of presentation contexts included."""

    def count_item(self) -> None:
        """Count an item. Raises `ProtocolError` when there are too many: all are read in one go."""
        self.proposed_items += 1
        if self.proposed_items > _MOST_ITEMS:
            raise ProtocolError(f"more than {_MOST_ITEMS} items in A-ASSOCIATE-RQ")


def encode_item(kind: int, body: bytes) -> bytes:
    """Encode an item or sub-item of A-ASSOCIATE-RQ and -AC (PS3.8 9.3.2)."""
    return _ITEM.pack(kind, len(body)) + body


def counted(data: bytes) -> bytes:
    """Return what stands behind its length, as UIDs do in some sub-items (PS3.7 D.3.3)."""
    return _LENGTH.pack(len(data)) + data


def decode(body: bytes) -> AssociateRequest:
    """Read what follows the PDU header. Raises `ProtocolError` when the PDU's own structure is broken.

    Items of an unknown type are skipped (PS3.8 9.3.1), optional ones that cannot be read are skipped and recorded.
    """
    if len(body) < FIXED_PART:
        raise ProtocolError(f"A-ASSOCIATE-RQ of {len(body)} bytes, expected at least {FIXED_PART}")
    request = AssociateRequest(
        protocol_version=int.from_bytes(body[:2], "big"),
        called_aet=_ae_title(body[4:20]),
        calling_aet=_ae_title(body[20:36]),
    )
    context_ids: set[int] = set()
    for kind, item in items(body[FIXED_PART:]):
        request.count_item()
        if kind == _APPLICATION_CONTEXT:
            request.application_context = item[4:].decode("latin-1").rstrip("\0 ")
        elif kind == _PRESENTATION_CONTEXT:
            _read_context(request, item, context_ids)
        elif kind == USER_INFORMATION:
            read_user_information(request, item)
    return request


def _ae_title(raw: bytes) -> str:
    # Some senders leave garbage behind the terminator of a C string.
    return raw.partition(b"\0")[0].decode("latin-1").strip(" ")


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and whole of each item. Raises `ProtocolError` when one does not fit."""
    at = 0
    while at < len(data):
        if at + _ITEM.size > len(data):
            raise ProtocolError("the PDU ends within an item header")
        kind, length = _ITEM.unpack_from(data, at)
        end = at + _ITEM.size + length
        if end > len(data):
            raise ProtocolError(f"item {kind:02X}H of {length} bytes is longer than what holds it")
        yield kind, data[at:end]
        at = end


def _read_context(request: AssociateRequest, item: bytes, context_ids: set[int]) -> None:
    if len(item) < 8:
        raise ProtocolError("presentation context item is too short for its id")
    context_id = item[4]
    if not context_id % 2 or context_id in context_ids:
        raise ProtocolError(f"presentation context id {context_id} is even or given twice")
    context_ids.add(context_id)
    abstract, transfer = "", []
    try:
        for kind, sub_item in items(item[8:]):
            request.count_item()
            if kind == _ABSTRACT_SYNTAX:
                abstract = read_uid(sub_item)
            elif kind == TRANSFER_SYNTAX:
                transfer.append(read_uid(sub_item))
    except ValueError as error:
        request.skip(f"presentation context {context_id}", error)
        abstract, transfer = "", []
    request.contexts.append(ProposedContext(context_id, abstract, transfer))


def read_uid(item: bytes) -> str:
    """Return what is in an item that holds a UID. Raises `ValueError` when it does not."""
    text = item[4:].rstrip(b"\0 ").decode("latin-1")
    if not is_uid(text):
        raise ValueError(f"{text[:80]!r} is not a UID")
    return text


def read_user_information(into: UserInformation, item: bytes) -> None:
    """Read a User Information item. Raises `ProtocolError`."""
    for kind, sub_item in items(item[4:]):
        into.items += 1
        if into.items > _MOST_USER_ITEMS:
            raise ProtocolError(f"more than {_MOST_USER_ITEMS} user information items")
        reader = _USER_ITEMS.get(kind)
        if reader is None:
            continue
        try:
            reader(into, sub_item)
        except Exception as error:
            if kind in _MANDATORY:
                raise ProtocolError(f"user information item {kind:02X}H cannot be read: {error!r}") from error
            into.skip(f"user information item {kind:02X}H", repr(error))


def _maximum_length(into: UserInformation, item: bytes) -> None:
    (into.max_pdu,) = struct.unpack_from(">I", item, 4)


def _implementation_class(into: UserInformation, item: bytes) -> None:
    into.implementation_uid = read_uid(item)


def _implementation_version(into: UserInformation, item: bytes) -> None:
    into.implementation_version = item[4 : 4 + _LONGEST_NAME].decode("latin-1").strip(" \0")


def _async_operations(into: UserInformation, item: bytes) -> None:
    invoked, performed = struct.unpack_from(">HH", item, 4)
    into.async_operations = invoked, performed


def _role_selection(into: UserInformation, item: bytes) -> None:
    sop_class, at = _counted_uid(item, 4)
    into.roles[sop_class] = (bool(item[at]), bool(item[at + 1]))


def _extended(into: UserInformation, item: bytes) -> None:
    sop_class, at = _counted_uid(item, 4)
    into.extended[sop_class] = item[at:]


def _common_extended(into: UserInformation, item: bytes) -> None:
    sop_class, at = _counted_uid(item, 4)
    into.service_classes[sop_class], _ = _counted_uid(item, at)


def _counted_uid(item: bytes, at: int) -> tuple[str, int]:
    """Return a UID that stands behind its length, and where it ends. Raises `ValueError`, `struct.error`."""
    (length,) = _LENGTH.unpack_from(item, at)
    end = at + _LENGTH.size + length
    text = item[at + _LENGTH.size : end].rstrip(b"\0 ").decode("latin-1")
    if end > len(item) or not is_uid(text):
        raise ValueError(f"{text[:80]!r} is not a UID")
    return text, end


def _user_identity(into: UserInformation, item: bytes) -> None:
    kind, wanted, length = struct.unpack_from(">BBH", item, 4)
    primary = item[8 : 8 + length]
    user = primary.decode("utf-8", "replace") if kind in {1, 2} else ""
    into.user_identity = UserIdentity(kind, user[:_LONGEST_NAME], bool(wanted))


_USER_ITEMS = {
    _MAXIMUM_LENGTH: _maximum_length,
    _IMPLEMENTATION_CLASS: _implementation_class,
    _ASYNC_OPERATIONS: _async_operations,
    _ROLE_SELECTION: _role_selection,
    _IMPLEMENTATION_VERSION: _implementation_version,
    _EXTENDED: _extended,
    _COMMON_EXTENDED: _common_extended,
    _USER_IDENTITY: _user_identity,
}
