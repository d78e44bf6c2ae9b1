"""Routing rules: which instances are sent on, and where to."""
