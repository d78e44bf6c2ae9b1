"""What every route uses of HTTP: bodies, negotiation, errors, streaming."""
