"""Jobs that make new instances from stored ones."""
