"""Orthanc REST: what this archive is and how much it holds."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from osteon.contracts.user_data_names import SYSTEM_METADATA, parse_names
from osteon_query.app_state import AppStateDep
from osteon_query.http.errors import UnknownResource
from osteon_query.http.json_response import json_response
from osteon_query.orthanc.resource_json import timestamp
from osteon_query.orthanc.resource_types import RESOURCE_TYPES
from osteon_query.orthanc.resources import sizes

router = APIRouter(tags=["System"])

ORTHANC_VERSION: Final = "1.12.11"
"""The Orthanc release whose REST API this one follows; clients choose what they call by it."""
_API_VERSION: Final = 30
_PLUGINS: Final[Mapping[str, Mapping[str, str]]] = {
    "dicom-web": {
        "ID": "dicom-web",
        "Description": "DICOMweb: QIDO-RS, WADO-RS, STOW-RS",
        "RootUri": "/dicom-web/studies",
        "Version": "1.18",
    }
}
"""`Version` is that of Orthanc's plugin whose behaviour this archive has, as clients choose by it what they call."""


@router.get("/system")
async def system(state: AppStateDep) -> Response:
    """Describe the archive. `Version` is that of the API; the archive's own is `OsteonVersion`."""
    settings = state.settings
    return json_response(
        {
            "ApiVersion": _API_VERSION,
            "Capabilities": {"HasChangesExtended": True, "HasExtendedFind": True},
            "CheckRevisions": settings.check_revisions,
            "DatabaseBackendPlugin": None,
            "DatabaseVersion": 6,
            "DicomAet": settings.aet,
            "DicomPort": settings.dicom_port,
            "HasLabels": True,
            "HttpPort": settings.http_port,
            "IngestTranscoding": "",
            "IsHttpServerSecure": False,
            "MainDicomTags": {kind.type: ";".join(kind.main_tags) for kind in RESOURCE_TYPES},
            "MaximumPatientCount": 0,
            "MaximumStorageMode": "Reject",
            "MaximumStorageSize": 0,
            "Name": "Osteon",
            "OsteonVersion": version("osteon"),
            "OverwriteInstances": settings.serves_newest,
            "PatientLevelEnabled": True,
            "PluginsEnabled": True,
            "ReadOnly": False,
            "StorageAreaPlugin": None,
            "StorageCompression": False,
            "UserMetadata": parse_names(settings.user_metadata, SYSTEM_METADATA),
            "Version": ORTHANC_VERSION,
        }
    )


@router.get("/statistics")
async def statistics(state: AppStateDep) -> Response:
    """Send totals of the whole archive."""
    totals = await state.totals.statistics()
    return json_response(
        {
            "CountConflicts": totals.conflicts,
            "CountInstances": totals.instances,
            "CountPacks": totals.packs,
            "CountPatients": totals.patients,
            "CountSeries": totals.series,
            "CountStudies": totals.studies,
            **sizes(totals.size, ("TotalDiskSize", "TotalUncompressedSize")),
        }
    )


@router.get("/senders")
async def senders(state: AppStateDep) -> Response:
    """List who has sent what, the last one first, by calling AE title and address. Beyond Orthanc's API."""
    return json_response(
        [
            {
                "CallingAet": sender.calling_aet,
                "RemoteHost": sender.remote_host,
                "LastReceived": timestamp(sender.last_received),
                "CountPacks": sender.packs,
                "CountInstances": sender.instances,
            }
            for sender in await state.totals.senders()
        ]
    )


@router.get("/plugins")
async def plugins() -> Response:
    """List what Orthanc has as plugins: clients discover DICOMweb here."""
    return json_response(list(_PLUGINS))


@router.get("/plugins/{id}")
async def plugin(id: str) -> Response:
    """Describe a plugin of `/plugins`."""
    if id not in _PLUGINS:
        raise UnknownResource(f"there is no plugin {id[:80]!r}")
    return json_response({**_PLUGINS[id], "ExtendsOrthancExplorer": False})


@router.get("/tools/now")
async def now() -> Response:
    """Send the time in UTC."""
    return Response(timestamp(datetime.now(UTC)), media_type="text/plain")
