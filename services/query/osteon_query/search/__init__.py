"""Searching: C-FIND, and the answers that it shares with QIDO-RS."""
