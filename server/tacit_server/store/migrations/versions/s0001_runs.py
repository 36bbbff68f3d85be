"""A run's rounds and checkpoints, and the devices of its fleet."""

import sqlalchemy as sa
from alembic import op

revision = "s0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "rounds",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "checkpoints",
        sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "devices",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("identity", sa.Text, nullable=False, unique=True),
        sa.Column("public_key", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    for table in ("devices", "checkpoints", "rounds"):
        op.drop_table(table)
