"""Osteon's service `standalone`."""
