"""What a charge asks about participations is found without looking at every device."""

from alembic import op

revision = "p0002"
down_revision = "p0001"


def upgrade() -> None:
    op.create_index("participations_of_device", "participations", ["device"])
    op.create_index("participations_most", "participations", ["run", "count"])
    op.create_index("participations_most_recent", "participations", ["run", "period", "recent"])


def downgrade() -> None:
    for index in ("participations_most_recent", "participations_most", "participations_of_device"):
        op.drop_index(index, "participations")
