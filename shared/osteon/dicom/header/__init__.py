"""The header reader: data set bytes in, DICOM JSON out, in one pass (PS3.5 section 7, PS3.18 F.2)."""
