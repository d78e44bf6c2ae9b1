"""Jobs that ask modalities for resources: by C-MOVE to whomever, by C-GET into this archive (PS3.4 C.4.2, C.4.3)."""
