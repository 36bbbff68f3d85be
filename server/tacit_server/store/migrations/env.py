"""Alembic's entry: runs over the connection that ``ledger.database`` hands in."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["table"],
    transactional_ddl=False,  # the caller's transaction is the one
)
context.run_migrations()
