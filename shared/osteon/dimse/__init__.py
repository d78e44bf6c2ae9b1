"""The DICOM upper layer (PS3.8) and DIMSE services (PS3.7) in asyncio, on pynetdicom's codecs."""
