"""Probe of the process's own limits."""

import resource
import time
from typing import Final

from osteon.cli.doctor.report import Findings
from osteon.runtime import OPEN_FILES
from osteon.settings import DicomSettings, ProcessSettings, SpoolSettings

_OTHERS: Final = 1024
_SOON: Final = 1_700_000_000
"""Seconds of the epoch; Osteon was written after that."""


def check(settings: ProcessSettings, findings: Findings) -> None:
    """Look at open files, and at a clock that is obviously wrong."""
    accepts_dicom = isinstance(settings, DicomSettings) and isinstance(settings, SpoolSettings)
    wanted = OPEN_FILES if accepts_dicom else _OTHERS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        findings.warn(
            f"at most {hard} open files; {wanted} are needed, for associations and their packs",
            f"ulimit -Hn {wanted}, LimitNOFILE={wanted} in systemd, or a lower OSTEON_MAX_ASSOCIATIONS",
        )
    else:
        findings.ok(f"{'any number of' if hard == resource.RLIM_INFINITY else hard} open files")
    if time.time() < _SOON:
        findings.fail(f"the clock says {time.strftime('%Y-%m-%d')}", "Set the clock, and run a time service (chrony).")
