"""Searching: C-FIND, and the results that it shares with QIDO-RS."""
