"""What Osteon's services share: DICOM, the upper layer, ports and their adapters."""

__version__ = "0.1.0"
