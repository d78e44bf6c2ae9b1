"""Packs: the TAR files that hold instances, their sidecars, and how both get into the object store."""
