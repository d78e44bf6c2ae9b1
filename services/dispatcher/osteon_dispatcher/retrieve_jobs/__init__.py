"""Jobs that retrieve resources from modalities: by C-MOVE to any destination, by C-GET to here (PS3.4 C.4.2, C.4.3)."""
