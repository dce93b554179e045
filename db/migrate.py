"""Brings a database to the schema this code was written for."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 7236871  # any number: two migrations at once wait for one another
AT_REVISION = text("select version_num = :wanted from alembic_version")


def migrate(database_url: str) -> None:
    """Run every migration that is missing. Safe to run twice, and from two places at once."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        command.upgrade(_config(connection), "head")
    engine.dispose()


def is_current(connection: Connection) -> bool:
    """Whether the database stands where this code expects it. False for an empty one too."""
    there = connection.scalar(text("select to_regclass('alembic_version') is not null"))
    if not there:
        return False
    return bool(connection.scalar(AT_REVISION, {"wanted": wanted_revision()}))


@cache
def wanted_revision() -> str | None:
    """The newest migration that this code brings. It reads files: once a process."""
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
