"""Brings a database to the schema this code was written for."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 7236871  # any number: two migrations at once wait for one another


def migrate(database_url: str) -> None:
    """Run every migration that is missing. Safe to run twice, and from two places at once."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        command.upgrade(_config(connection), "head")
    engine.dispose()


def is_current(connection: Connection) -> bool:
    """Whether the database stands where this code expects it."""
    return MigrationContext.configure(connection).get_current_revision() == wanted_revision()


def wanted_revision() -> str | None:
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
