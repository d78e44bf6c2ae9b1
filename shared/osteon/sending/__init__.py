"""Sending stored instances by C-STORE: the sub-operations of C-MOVE and C-GET, and jobs that send (PS3.4 B, C.4)."""
