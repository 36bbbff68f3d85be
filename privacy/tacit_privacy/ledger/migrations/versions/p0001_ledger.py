"""The ledger, who took part, and the leaves below published roots."""

import sqlalchemy as sa
from alembic import op

revision = "p0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("signature", sa.LargeBinary(64), nullable=False),
    )
    op.create_table(
        "participations",
        sa.Column("run", sa.String(200), primary_key=True),
        sa.Column("device", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("period", sa.Integer, nullable=False),
        sa.Column("recent", sa.Integer, nullable=False),
        sa.Column("last_round", sa.Integer, nullable=False),
        sa.Column("newest", sa.Integer, sa.ForeignKey("ledger.index")),
    )
    op.create_table(
        "limits",
        sa.Column("device", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("participations", sa.Integer),
        sa.Column("epsilon", sa.Float),
        sa.Column("spent", sa.Float, nullable=False),
    )
    op.create_table(
        "reserved",
        sa.Column("reservation", sa.String(40), primary_key=True),
        sa.Column("devices", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "receipts",
        sa.Column("reservation", sa.String(40), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("salt", sa.LargeBinary(32), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary(64), nullable=False),
    )


def downgrade() -> None:
    for table in ("receipts", "reserved", "limits", "participations", "ledger"):
        op.drop_table(table)
