"""Storage commitment (PS3.4 Annex J) as provider and as user."""
