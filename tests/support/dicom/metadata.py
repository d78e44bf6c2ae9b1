"""Metadata as a request has it: read from JSON or XML, written as a file and read again."""

import io
import json
from pathlib import Path
from typing import Any

from osteon.dicom.encoded_data_set import EncodedDataSet
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.json_reader import JsonReader
from osteon.dicom.json_to_part10 import write_part10_file
from osteon.dicom.part10 import read_part10
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from osteon.dicom.xml_reader import xml_to_json

UIDS = frozenset({"00080016", "00080018"})


def from_xml(document: bytes) -> dict[str, dict[str, Any]]:
    """Return a document as DICOM JSON; raises `BadXml`."""
    target = io.BytesIO()
    xml_to_json(io.BytesIO(document), target, 1 << 20)
    read: dict[str, dict[str, Any]] = json.loads(target.getvalue())
    return read


def encode(data_set: object, max_bytes: int = 1 << 20) -> EncodedDataSet:
    """Encode a data set; raises `BadMetadata`."""
    return encode_text(json.dumps([data_set]).encode(), max_bytes)


def encode_text(text: bytes, max_bytes: int = 1 << 20) -> EncodedDataSet:
    """Encode the only data set of a JSON text; raises `BadMetadata`."""
    (found,) = JsonReader(io.BytesIO(text), max_bytes, UIDS, frozenset()).data_sets()
    if isinstance(found, EncodedDataSet):
        return found
    raise found


def composed(path: Path, data_set: object) -> dict[str, Any]:
    """Write a data set to a new file and read it back; raises `BadMetadata`."""
    write_part10_file(path, encode(data_set), {}, EXPLICIT_VR_LITTLE_ENDIAN, {})
    file = path.read_bytes()
    data = file[read_part10(file).data_set_offset :]
    read: dict[str, Any] = json.loads(HeaderReader().read(data, EXPLICIT_VR_LITTLE_ENDIAN).json)
    return read
