"""Osteon's service `imaging`."""
