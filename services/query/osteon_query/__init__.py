"""Osteon's service `query`."""
