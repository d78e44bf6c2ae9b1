"""Remote application entities and peers."""
