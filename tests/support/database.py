"""A real PostgreSQL for tests: one server a test process, one fresh database a test."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from db.migrate import migrate
from runtime.embedded_postgres import EmbeddedPostgres

TEMPLATE = "migrated"


@dataclass(frozen=True)
class DatabaseServer:
    postgres: EmbeddedPostgres

    def fresh_database(self) -> str:
        """The URL of a new, migrated, empty database."""
        return self.postgres.create_database(f"t{secrets.token_hex(6)}", template=TEMPLATE)


@contextmanager
def running_postgres() -> Iterator[DatabaseServer]:
    with tempfile.TemporaryDirectory(prefix="hospital-test-") as directory:
        postgres = EmbeddedPostgres.start(Path(directory) / "pg", fsync=False)
        try:
            migrate(postgres.create_database(TEMPLATE))
            yield DatabaseServer(postgres)
        finally:
            # At once: a hundred databases would be written out first, only to be removed.
            postgres.stop(patience=0)
