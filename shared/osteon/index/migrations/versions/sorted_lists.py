"""First pages of sorted lists of studies without sorting them all: indexes, and when each study was last updated."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
SORTED = (
    "patient_name", "patient_sex", "study_id", "study_description", "referring_physician_name", "institution_name",
)  # fmt: skip
NOTE = (
    "INSERT INTO study_updates (study, updated) VALUES (new.id, new.updated)"
    " ON CONFLICT (study) DO UPDATE SET updated = excluded.updated"
)
FORGET = "DELETE FROM study_updates WHERE study = old.id"


def upgrade() -> None:
    """Make the indexes, those apart that an operator has made before, and the table with its triggers."""
    for column in SORTED:
        op.create_index(f"ix_studies_{column}_key_id", "studies", [f"{column}_key", "id"], if_not_exists=True)
    op.create_table(
        "study_updates",
        sa.Column("study", ID, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("updated", MOMENT, nullable=False),
    )
    # Triggers, as the release before updates studies too while both run.
    if op.get_bind().dialect.name == "postgresql":
        for event, statement in (("INSERT OR UPDATE OF updated", NOTE), ("DELETE", FORGET)):
            name = f"note_study_{event.split()[0].lower()}"  # of a function and of its trigger
            body = f"BEGIN {statement}; RETURN NULL; END"
            op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
            op.execute(f"CREATE TRIGGER {name} AFTER {event} ON studies FOR EACH ROW EXECUTE FUNCTION {name}()")
    else:
        op.execute(f"CREATE TRIGGER studies_added AFTER INSERT ON studies BEGIN {NOTE}; END")
        op.execute(f"CREATE TRIGGER studies_updated AFTER UPDATE OF updated ON studies BEGIN {NOTE}; END")
        op.execute(f"CREATE TRIGGER studies_removed AFTER DELETE ON studies BEGIN {FORGET}; END")
    op.execute("INSERT INTO study_updates (study, updated) SELECT id, updated FROM studies")
    op.create_index("ix_study_updates_updated_study", "study_updates", ["updated", "study"])
