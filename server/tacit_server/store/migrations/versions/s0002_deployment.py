"""Several runs in one database; enrolled devices, tokens, adapters, users and the audit log of a deployment."""

import sqlalchemy as sa
from alembic import op

revision = "s0002"
down_revision = "s0001"

_TEXT, _TIME, _DIGEST = sa.Text, sa.Float, sa.String(64)


def upgrade() -> None:
    _with_runs()
    for column in (
        sa.Column("name", _TEXT, nullable=False, server_default=""),
        sa.Column("state", sa.String(20), nullable=False, server_default="admitted"),
        sa.Column("node_key", _TEXT, nullable=False, server_default=""),
        sa.Column("node_id", sa.String(20), nullable=False, server_default=""),
        sa.Column("admitted", _TIME, nullable=False, server_default="0"),
        sa.Column("seen", _TIME, nullable=False, server_default="0"),
        sa.Column("report", _TEXT, nullable=False, server_default=""),
    ):
        op.add_column("devices", column)
    _admission()
    _runs_and_adapters()
    _people()


def _with_runs() -> None:
    """Rounds and checkpoints under a key of run and number: tables made anew, since SQLite cannot change a key."""
    for table, number, content, kind in (
        ("rounds", "number", "record", _TEXT()),
        ("checkpoints", "round", "state", sa.LargeBinary()),
    ):
        op.rename_table(table, f"{table}_s0001")
        op.create_table(
            table,
            sa.Column("run", sa.String(200), nullable=False),
            sa.Column(number, sa.Integer, nullable=False, autoincrement=False),
            sa.Column(content, kind, nullable=False),
            sa.PrimaryKeyConstraint("run", number, name=f"{table}_of_run"),
        )
        op.execute(f"INSERT INTO {table} (run, {number}, {content}) SELECT '', {number}, {content} FROM {table}_s0001")
        op.drop_table(f"{table}_s0001")


def _admission() -> None:
    op.create_table(
        "applicants",
        sa.Column("public_key", _DIGEST, primary_key=True),
        sa.Column("node_key", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("asked", _TIME, nullable=False),
        sa.Column("address", _TEXT, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("note", _TEXT, nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.Column("device", sa.Integer),
        sa.Column("used", _TIME),
        sa.Column("used_by", _TEXT, nullable=False),
    )


def _runs_and_adapters() -> None:
    op.create_table(
        "runs",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("settings", _TEXT, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("wanted", sa.String(20), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("starts", _TIME, nullable=False),
        sa.Column("started", _TIME),
        sa.Column("ended", _TIME),
        sa.Column("population", sa.Integer, nullable=False),
        sa.Column("spec", _TEXT, nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("holder", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "adapters",
        sa.Column("run", sa.String(200), nullable=False),
        sa.Column("round", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("digest", _DIGEST, nullable=False),
        sa.Column("parent", _DIGEST, nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("entries", sa.Integer, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run", "round", name="adapters_of_run"),
    )
    op.create_index("ix_adapters_digest", "adapters", ["digest"])


def _people() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("actor", _TEXT, nullable=False),
        sa.Column("action", sa.String(60), nullable=False),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("detail", _TEXT, nullable=False),
        sa.Column("address", _TEXT, nullable=False),
    )
    op.create_table(
        "users",
        sa.Column("name", sa.String(60), primary_key=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("password", _TEXT, nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked", _TIME, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("user", sa.String(60), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("used", _TIME, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("databases go forward; restore a copy to go back")
