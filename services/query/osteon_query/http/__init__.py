"""The HTTP side of every door: bodies, negotiation, errors, streaming."""
