"""What the archive itself notes of a resource, as Orthanc's metadata."""

from typing import Final

from osteon.archive.resources import Match
from osteon.contracts.packs import Origin
from osteon.packs.sidecar import SidecarLine
from osteon_query.orthanc.resource_json import expected_instances, index_in_series, timestamp
from osteon_query.packs.sidecars import parse_header

_ORIGINS: Final = {Origin.DIMSE: "DicomProtocol", Origin.HTTP: "RestApi"}
_IMPLICIT, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"


def system_metadata(match: Match, line: SidecarLine | None) -> dict[str, str]:
    """Return metadata by name; `line` is that of an instance, None when it cannot be read."""
    if match.instance is not None:
        return _of_instance(match, line)
    resource = match.series or match.study or match.patient
    found = {"LastUpdate": timestamp(resource.updated)}
    if match.series is not None and (expected := expected_instances(match.series.attributes)):
        found["ExpectedNumberOfInstances"] = str(expected)
    return found


def _of_instance(match: Match, line: SidecarLine | None) -> dict[str, str]:
    instance = match.instance
    assert instance is not None
    found = {
        "ReceptionDate": timestamp(instance.received),
        "RemoteAET": instance.calling_aet,
        "Origin": _ORIGINS[instance.origin],
        "TransferSyntax": instance.location.transfer_syntax_uid,
        "SopClassUid": instance.location.identity.sop_class_uid,
        "RemoteIP": instance.remote_host,
    }
    if (index := index_in_series(instance.attributes)) is not None:
        found["IndexInSeries"] = str(index)
    return found | (_of_pixel_data(instance.location.transfer_syntax_uid, line) if line else {})


def _of_pixel_data(transfer_syntax: str, line: SidecarLine) -> dict[str, str]:
    offset, pixel_data = pixel_data_offset(transfer_syntax, line), line.header.pixel_data
    if offset is None or pixel_data is None:
        return {}
    found = {"PixelDataOffset": str(offset)}
    if vr := parse_header(line.header.json).get(pixel_data.tag, {}).get("vr"):
        found["PixelDataVR"] = vr
    return found


def pixel_data_offset(transfer_syntax: str, line: SidecarLine) -> int | None:
    """Return where the element of the pixel data begins in the file, its header included; None without or deflated."""
    pixel_data = line.header.pixel_data
    if pixel_data is None or transfer_syntax == _DEFLATED:
        return None
    head = 8 if transfer_syntax == _IMPLICIT else 12  # PS3.5 7.1.2, 7.1.3: OB, OW, OF and OD have a long form
    return line.dataset_offset + pixel_data.offset - head
