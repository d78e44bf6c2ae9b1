"""DICOM clients for the command line: `osteon echo`, `send`, `find`, `move`, `get`, for any peer."""
