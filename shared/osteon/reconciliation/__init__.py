"""Reconciliation: corrected attributes laid over a study, applied on every way out, and reversible."""
