"""Osteon's service `dispatcher`."""
