"""Osteon's service `writer`."""
