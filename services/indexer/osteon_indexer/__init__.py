"""Osteon's service `indexer`."""
