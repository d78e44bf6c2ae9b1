"""The index: a port, and PostgreSQL and SQLite behind it by SQLAlchemy. SQL stands here only."""
