"""Reads settings from the environment, and says what is wrong with it."""

import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final, NoReturn, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from osteon.errors import Invalid
from osteon.settings.base import PREFIX, Settings
from osteon.settings.dicom import AccessSettings, BalancerSettings, DicomSettings, TlsSettings
from osteon.settings.http import HttpSettings, RemotesSettings
from osteon.settings.imaging import ImagingSettings, RenderSettings, TranscodeSettings
from osteon.settings.jobs import (
    CommitmentSettings,
    DispatcherSettings,
    JobSettings,
    PeerSettings,
    RoutingSettings,
    SendingSettings,
)
from osteon.settings.process import ProcessSettings, StandaloneSettings
from osteon.settings.storage import (
    BusSettings,
    IndexerSettings,
    IndexSettings,
    ObjectSettings,
    PackCacheSettings,
    PackSettings,
    SpoolSettings,
    WriterSettings,
)
from osteon.settings.user_data import UserDataSettings

S = TypeVar("S", bound=Settings)
GROUPS: Final[tuple[type[Settings], ...]] = (
    ProcessSettings,
    DicomSettings,
    TlsSettings,
    BalancerSettings,
    SpoolSettings,
    PackSettings,
    BusSettings,
    ObjectSettings,
    PackCacheSettings,
    IndexSettings,
    WriterSettings,
    IndexerSettings,
    HttpSettings,
    RemotesSettings,
    UserDataSettings,
    AccessSettings,
    CommitmentSettings,
    JobSettings,
    DispatcherSettings,
    PeerSettings,
    RoutingSettings,
    SendingSettings,
    TranscodeSettings,
    ImagingSettings,
    RenderSettings,
    StandaloneSettings,
)
"""Every group, in the order of the documentation."""
RENAMED: Final = {
    f"{PREFIX}{old}": f"{PREFIX}{new}"
    for old, new in {
        "METRIC_AETS": "METRICS_MAX_AETS",
        "MAX_PDU": "MAX_PDU_BYTES",
        "ARTIM_TIMEOUT": "ARTIM_TIMEOUT_SECONDS",
        "DIMSE_TIMEOUT": "DIMSE_TIMEOUT_SECONDS",
        "NETWORK_TIMEOUT": "NETWORK_TIMEOUT_SECONDS",
        "DICOM_PLAIN": "DICOM_PLAINTEXT_ENABLED",
        "SPOOL": "SPOOL_DIR",
        "SPOOL_QUOTA": "SPOOL_QUOTA_BYTES",
        "PACK_SIZE": "PACK_SIZE_BYTES",
        "INDEX_LINGER": "INDEX_BATCH_WAIT_SECONDS",
        "SWEEP_AGE": "SWEEP_MIN_AGE_SECONDS",
        "UPLOADS": "MAX_CONCURRENT_UPLOADS",
        "UPLOAD_LIMIT": "MAX_UPLOAD_BYTES",
        "INDEX_WAIT": "UPLOAD_INDEX_TIMEOUT_SECONDS",
        "UNKNOWN_AETS": "UNKNOWN_AET_PERMISSIONS",
        "COMMITMENT_WAIT": "COMMITMENT_WAIT_SECONDS",
        "COMMITMENT_LINGER": "COMMITMENT_LINGER_SECONDS",
        "JOB_LEASE": "JOB_LEASE_SECONDS",
        "JOB_POLL": "JOB_POLL_SECONDS",
        "JOB_PATIENCE": "JOB_RETRY_SECONDS",
        "OWN_DOOR": "OWN_DICOM_ADDRESS",
        "STABLE_AGE": "STABLE_AGE_SECONDS",
        "SEND_READ_AHEAD": "SEND_READ_AHEAD_BYTES",
        "SEND_MEMORY": "SEND_MEMORY_BYTES",
        "SEND_TRANSCODE_SECONDS": "TRANSCODE_TIMEOUT_SECONDS",
        "MOVE_PATIENCE": "MOVE_RETRY_SECONDS",
        "IMAGING_WARM": "IMAGING_MIN_IDLE_WORKERS",
        "IMAGING_RECYCLE": "IMAGING_MAX_TASKS_PER_WORKER",
        "IMAGING_MEMORY": "IMAGING_MEMORY_BYTES",
        "IMAGING_SOURCES": "IMAGING_SOURCES_BYTES",
        "RENDER_CACHE": "RENDER_CACHE_BYTES",
        "RENDER_AT_ONCE": "RENDER_CONCURRENCY",
        "THUMBNAILS_AHEAD": "PREFETCH_THUMBNAILS",
    }.items()
}
"""Names that settings once had, and those that they have now."""


class BadSettings(Invalid):
    """The environment cannot be used; the message lists every reason, a line each."""


def known_names() -> set[str]:
    """Return every environment variable that some service reads."""
    return {name for group in GROUPS for name in variables(group)}


def variables(group: type[Settings]) -> set[str]:
    """Return the environment variables of a group."""
    return {PREFIX + field.upper() for field in group.model_fields}


def load(kind: type[S]) -> S:
    """Read the settings of one service from the environment; raises `BadSettings`."""
    settings, wrong = read(kind)
    if settings is None or wrong:
        raise BadSettings("\n".join(wrong))
    return settings


def read(kind: type[S]) -> tuple[S | None, list[str]]:
    """Return the settings of one service, None when a value is invalid, and a line for each problem."""
    wrong = unknown_settings()
    if kind.others:
        others = known_names() - variables(kind) | {PREFIX + field.upper() for field in kind.unread}
        wrong += [f"{name}: {kind.others}" for name in sorted(os.environ.keys() & others)]
    try:
        return kind(), wrong
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
            wrong.append(f"{name}: {_expected(problem)}{_given(kind, name, problem)}")
        return None, wrong


def unknown_settings() -> list[str]:
    """Return a line for each variable of the environment that looks like a setting and is none."""
    known = known_names()
    looks = (name for name in sorted(os.environ) if name.startswith(PREFIX) and not name.startswith(PREFIX + "TEST_"))
    return [_unknown(name) for name in looks if name not in known]


def exit_with(wrong: Iterable[str]) -> NoReturn:
    """Say what is wrong with the settings, a line each, and end the process with status 2."""
    print("osteon: the settings are invalid:", *wrong, sep="\n", file=sys.stderr)  # noqa: T201 (no logs yet)
    sys.exit(2)


def _unknown(name: str) -> str:
    if (new := RENAMED.get(name)) is not None:
        return f"{name} is now {new} (see docs/settings.md)"
    close = get_close_matches(name, known_names(), n=1)
    meant = f"; is {close[0]} meant?" if close else ""
    return f"{name}: no such setting{meant} (see docs/settings.md)"


_EXPECTED: Final = {
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "finite_number": "expected a number",
    "bool_parsing": "expected true or false",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "literal_error": "expected {expected}",
    "string_pattern_mismatch": "expected the form {pattern}",
    "value_error": "{error}",
}
"""What pydantic's kinds of errors mean for who sets a variable, with the values of their context."""


def _expected(problem: ErrorDetails) -> str:
    text = _EXPECTED.get(problem["type"])
    return problem["msg"] if text is None else text.format(**problem.get("ctx", {}))


def _given(kind: type[Settings], name: str, problem: ErrorDetails) -> str:
    """Say what was given, unless it may hold a password."""
    field = kind.model_fields.get(str(problem["loc"][0])) if problem["loc"] else None
    secret = field is not None and field.annotation is SecretStr
    return "" if secret else f" (given: {os.environ.get(name, problem['input'])!r})"
