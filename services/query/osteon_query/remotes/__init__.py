"""Modalities, peers and what is asked of them: what REST and the bus's questions have in common."""
