"""Alembic's revisions of the schema; `osteon.index.migrate` runs them."""
