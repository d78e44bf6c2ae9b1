"""Making new instances from stored ones: modify, anonymize, merge, split."""
