"""Storage commitment (PS3.4 Annex J): requests, reports, and what is checked before an instance is called committed."""
