"""The migrations and the rows of the code tell the same story."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

import db.account
import db.allergy
import db.appointment
import db.catalogue
import db.consent
import db.consultation
import db.conversation
import db.credential
import db.duty
import db.file
import db.journal
import db.message
import db.outbox
import db.payment
import db.phone_call
import db.reconciliation
import db.reply_template
import db.video
import db.work_item  # noqa: F401
from db.base import Base
from db.migrate import is_current, migrate


def test_the_migrated_schema_is_the_one_the_code_describes(database_url: str) -> None:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.connect() as connection:
        assert is_current(connection)
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    migrate(database_url)
    migrate(database_url)
