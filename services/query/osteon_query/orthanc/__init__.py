"""The REST API that Orthanc's clients call."""
