"""Fills docs/conformance.template with tables from the code: what is negotiated, answered and configured (PS3.2)."""

import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

from pydicom._uid_dict import UID_dictionary

from osteon import __version__
from osteon.dicom import charset, uids
from osteon.dicom.attributes import COMPUTED, HELD
from osteon.dicom.models import FIND_MODELS, PATIENT_ROOT, STUDY_ROOT, Level
from osteon.dimse import negotiation, service_provider, sop_classes
from osteon.dimse.associate_rq_encoder import MOST_CONTEXTS
from osteon.dimse.command import CommandField
from osteon.dimse.config import AcceptorConfig, RequestorConfig
from osteon.dimse.pdu import SHORTEST_PDU
from osteon.dimse.sop_classes import ServiceClass
from osteon.dimse.status import Status
from osteon.dimse.tls import TLS12_SUITES
from osteon.settings import PREFIX, DicomSettings

TEMPLATE = Path(__file__).with_suffix(".template")
_TITLES = {
    ServiceClass.VERIFICATION: "Verification",
    ServiceClass.STORAGE: "Storage",
    ServiceClass.QUERY: "Query",
    ServiceClass.MOVE: "Retrieve (C-MOVE)",
    ServiceClass.GET: "Retrieve (C-GET)",
    ServiceClass.COMMITMENT: "Storage commitment",
}
_REQUESTOR = {
    "connect_timeout": "seconds to connect",
    "artim_timeout": "seconds for the answer to A-ASSOCIATE-RQ, and for the end of the connection",
    "dimse_timeout": "seconds for each response",
    "pdu_timeout": "seconds for a PDU to end, or to bring 64 KiB more",
    "network_timeout": "seconds that an association may be idle",
    "max_pdu": "maximum PDU length that is proposed; 0: unlimited",
    "async_operations": "operations in flight that are proposed; 1: not negotiated (`osteon send`: 8)",
    "max_command": "bytes of a command set; a longer one aborts the association",
    "max_information": "bytes of Action Information: a requestor takes no N-ACTION",
    "progress_repeat": "not used: a requestor performs no C-MOVE and no C-GET",
    "max_identifier": "bytes of the data set of a response; a longer one aborts the association",
}
_OPTIONS = {
    ServiceClass.QUERY: ("relational queries", "combined date-time matching", "fuzzy matching of names", "timezone"),
    ServiceClass.MOVE: ("relational retrieval", "enhanced multi-frame conversion"),
    ServiceClass.GET: ("relational retrieval", "enhanced multi-frame conversion"),
}


def page() -> str:
    """Return the whole statement; a place of the template without a table, and the other way round, is an error."""
    made = {name: make() for name, make in _PLACES.items()}
    text = TEMPLATE.read_text()
    wanted = set(re.findall(r"\{\{(\w+)\}\}", text))
    if wanted != set(made):
        raise ValueError(f"{TEMPLATE.name} and {Path(__file__).name} differ in {sorted(wanted ^ set(made))}")
    return re.sub(r"\{\{(\w+)\}\}", lambda place: made[place[1]], text)


def used() -> frozenset[str]:
    """Return the SOP classes, those of storage left out, that services or tools use as SCU."""
    retrieval = {uid for model in (PATIENT_ROOT, STUDY_ROOT) for uid in (model.find, model.move, model.get)}
    return frozenset({sop_classes.VERIFICATION, sop_classes.COMMITMENT, *retrieval})


def _rows(rows: Iterable[tuple[object, ...]]) -> str:
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)


def _name(uid: str) -> str:
    name, _, _, retired, _ = UID_dictionary.get(uid, (uid, "", "", "", ""))
    return f"{name} (retired)" if retired and "(Retired)" not in name else name


def _services() -> str:
    storage = ("Storage", "annex A", "", "yes", "yes")
    rows = [
        (_TITLES[service], _name(uid), f"`{uid}`", "yes" if uid in used() else "-", "yes")
        for uid, service in sorted(
            sop_classes._SERVICES.items(), key=lambda item: (list(ServiceClass).index(item[1]), item[0])
        )
    ]
    return _rows([rows[0], storage, *rows[1:]])


def _operations() -> str:
    return _rows(
        (CommandField(field).name.removesuffix("_RQ").replace("_", "-"), _TITLES[service])
        for field, (service, _) in service_provider.OPERATIONS.items()
        if service is not None
    )


def _models() -> str:
    return _rows((_name(uid), ", ".join(model.levels)) for uid, model in FIND_MODELS.items())


def _keys() -> str:
    return _rows((level, ", ".join(HELD[level]), ", ".join(COMPUTED[level])) for level in Level)


def _statuses() -> str:
    return _rows((f"0x{status:04X}", status.name.replace("_", " ").lower()) for status in sorted(Status))


def _settings() -> str:
    shared = [
        (name, field)
        for name, field in DicomSettings.model_fields.items()
        if name.removesuffix("_seconds").removesuffix("_bytes") in AcceptorConfig.__slots__
    ]
    return _rows((f"`{PREFIX}{name.upper()}`", _default(field.default), field.description) for name, field in shared)


def _default(value: object) -> str:
    if value in ((), ""):
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _requestor() -> str:
    return _rows((f"`{field.name}`", f"`{field.default}`", _REQUESTOR[field.name]) for field in fields(RequestorConfig))


def _extended() -> str:
    offers = {
        ServiceClass.QUERY: AcceptorConfig().query_options,
        ServiceClass.MOVE: negotiation._RETRIEVE_OFFER,
        ServiceClass.GET: negotiation._RETRIEVE_OFFER,
    }
    level, _, signatures, _, coercion, _ = negotiation._STORAGE_OFFER
    storage = f"level of support {level}, level of digital signature support {signatures}, element coercion {coercion}"
    rows = [("Storage", storage)]
    for service, offer in offers.items():
        answered = (f"{name}: {'yes' if bit else 'no'}" for name, bit in zip(_OPTIONS[service], offer, strict=True))
        rows.append((_TITLES[service], ", ".join(answered)))
    return _rows(rows)


def _charsets() -> str:
    numbers = sorted(int(number) for number in charset.CODECS if number.isdecimal())
    return ", ".join(f"`{name}`" for name in (*(f"ISO_IR {number}" for number in numbers), *charset.STANDALONE))


def _uids(chosen: Iterable[str]) -> str:
    return _rows((_name(uid), f"`{uid}`") for uid in chosen)


def _syntaxes() -> str:
    chosen = (syntax for uid, syntax in uids.TRANSFER_SYNTAXES.items() if uid in sop_classes.STORAGE_SYNTAXES)
    return _rows((f"{syntax.name}{' (retired)' if syntax.retired else ''}", f"`{syntax.uid}`") for syntax in chosen)


def _ordered(chosen: Iterable[str]) -> list[str]:
    return sorted(chosen, key=lambda uid: [int(part) for part in uid.split(".")])


_PLACES: dict[str, Callable[[], str]] = {
    "version": lambda: __version__,
    "services": _services,
    "storage_count": lambda: str(len(sop_classes.storage_classes())),
    "syntax_count": lambda: str(len(sop_classes.STORAGE_SYNTAXES)),
    "operations": _operations,
    "models": _models,
    "keys": _keys,
    "statuses": _statuses,
    "settings": _settings,
    "requestor": _requestor,
    "application_context": lambda: negotiation.APPLICATION_CONTEXT,
    "implementation_uid": lambda: uids.IMPLEMENTATION_CLASS_UID,
    "implementation_version": lambda: uids.IMPLEMENTATION_VERSION_NAME,
    "most_contexts": lambda: str(MOST_CONTEXTS),
    "async_operations": lambda: str(AcceptorConfig().async_operations),
    "shortest_pdu": lambda: str(SHORTEST_PDU),
    "uncompressed": lambda: ", ".join(uids.TRANSFER_SYNTAXES[uid].name for uid in _ordered(sop_classes.UNCOMPRESSED)),
    "extended": _extended,
    "charsets": _charsets,
    "suites": lambda: ", ".join(f"`{suite}`" for suite in TLS12_SUITES),
    "storage": lambda: _uids(_ordered(sop_classes.storage_classes())),
    "syntaxes": _syntaxes,
}
