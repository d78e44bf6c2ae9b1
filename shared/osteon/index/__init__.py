"""The index in PostgreSQL or SQLite, by SQLAlchemy: the only place with SQL."""
