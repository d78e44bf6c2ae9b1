"""Orthanc REST: `/tools/dicom-conformance`, what can be negotiated with this archive, as text (PS3.2, in short)."""

from collections.abc import Iterable, Iterator

from fastapi import APIRouter
from pydicom.uid import UID
from starlette.responses import Response

from osteon import __version__
from osteon.dicom.uids import TRANSFER_SYNTAXES
from osteon.dimse.sop_classes import STORAGE_SYNTAXES, ServiceClass, services, storage_classes
from osteon_query.app_state import AppStateDep

router = APIRouter(prefix="/tools", tags=["Tools"])


@router.get("/dicom-conformance")
async def dicom_conformance(state: AppStateDep) -> Response:
    """List the SOP classes and transfer syntaxes that are accepted."""
    return Response("\n".join(_lines(state.settings.aet)) + "\n", media_type="text/plain")


def _lines(aet: str) -> Iterator[str]:
    title = f"DICOM Conformance Statement of Osteon {__version__} ({aet})"
    yield from ("=" * len(title), title, "=" * len(title))
    known = services()
    for service in ServiceClass:
        uids = storage_classes() if service is ServiceClass.STORAGE else [u for u, s in known.items() if s is service]
        yield from _chapter(f"{service.value.capitalize()} SCP", ((UID(uid).name, uid) for uid in uids))
    names = ((TRANSFER_SYNTAXES[uid].name, uid) for uid in STORAGE_SYNTAXES)
    yield from _chapter("Transfer syntaxes of storage", names)


def _chapter(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from ("", title, "-" * len(title), "")
    yield from (f"  {uid:<34} {name}" for name, uid in sorted(rows))
