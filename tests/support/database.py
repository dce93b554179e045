"""A real PostgreSQL for tests: one server a test process, one empty database a test.

A database is given to one test after another and emptied between them: making and removing its
300 files takes ten times as long as deleting the few rows that a test leaves behind.
"""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from db.migrate import migrate
from runtime.embedded_postgres import EmbeddedPostgres

TEMPLATE = "migrated"
MANY_ROWS = 5_000  # a table that held more is slow to empty and to read afterwards

# Another one after any statement that alters a table, trigger, constraint or function.
SHAPE = """
select md5(string_agg(part, ',' order by part)) from (
    select 'class ' || oid || xmin as part from pg_class
        where relnamespace = 'public'::regnamespace
    union all select 'column ' || attrelid || attname || attribute.xmin
        from pg_attribute as attribute join pg_class on pg_class.oid = attrelid
        where relnamespace = 'public'::regnamespace
    union all select 'trigger ' || oid || xmin from pg_trigger
    union all select 'constraint ' || oid || xmin from pg_constraint
    union all select 'function ' || oid || xmin from pg_proc
        where pronamespace = 'public'::regnamespace
) as parts"""

# Whoever a test left behind must not write into the next one.
ALONE = """
select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()"""

# As a replica, the triggers that keep tables append-only and the foreign keys sleep.
EMPTY = f"""
do $$
declare
    name text;
    gone bigint;
begin
    set local session_replication_role = replica;
    for name in
        select quote_ident(relname) from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'r'
            and relname <> 'alembic_version'
    loop
        execute 'delete from ' || name;
        get diagnostics gone = row_count;
        if gone > {MANY_ROWS} then
            raise exception '% held % rows', name, gone;
        end if;
    end loop;
    perform setval(seqrelid, seqstart, false) from pg_sequence
        where pg_sequence_last_value(seqrelid) is not null;
end $$"""


@dataclass
class DatabaseServer:
    postgres: EmbeddedPostgres
    shape: str
    _idle: list[str] = field(default_factory=list)

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """The URL of a migrated, empty database that nobody else has meanwhile."""
        url = self._idle.pop() if self._idle else self._new()
        yield url
        if self._emptied(url):
            self._idle.append(url)

    def _new(self) -> str:
        return self.postgres.create_database(f"t{secrets.token_hex(6)}", template=TEMPLATE)

    def _emptied(self, url: str) -> bool:
        """Whether it is as good as new. One that is not stays away until the server's end."""
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(ALONE)
                connection.execute(EMPTY)
                return _shape(connection) == self.shape
        except psycopg.Error:
            return False


def _shape(connection: psycopg.Connection) -> str:
    row = connection.execute(SHAPE).fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def running_postgres() -> Iterator[DatabaseServer]:
    with tempfile.TemporaryDirectory(prefix="hospital-test-") as directory:
        postgres = EmbeddedPostgres.start(Path(directory) / "pg", fsync=False)
        try:
            url = postgres.create_database(TEMPLATE)
            migrate(url)
            with psycopg.connect(url) as connection:
                shape = _shape(connection)
            yield DatabaseServer(postgres, shape)
        finally:
            # At once: its databases would be written out first, only to be removed.
            postgres.stop(patience=0)
