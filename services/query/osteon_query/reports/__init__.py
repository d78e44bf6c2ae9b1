"""Structured reports as text that a person reads."""
