"""Osteon's service `ingress`."""
