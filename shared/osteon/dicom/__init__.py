"""DICOM data sets: identity, the fast header reader, DICOM JSON, character sets, query keys and matching."""
