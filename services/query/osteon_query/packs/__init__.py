"""Packs and sidecars: reading instances out of them, and making them from uploads."""
