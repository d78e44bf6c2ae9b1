"""Alembic's entry: runs the revisions on the connection and in the transaction that `osteon.index.migrate` opened."""

from alembic import context

from osteon.index.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
