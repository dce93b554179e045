"""A test finds nothing of the test before it, though both may have had the same database."""

from contextlib import closing

import psycopg
import pytest

from tests.support.database import DatabaseServer

AUDITED = """
insert into audit (hospital_id, event, subject, actor_role, details)
values (1, 'tried', 'x', 'system', '{}') returning id"""


def test_a_database_is_given_on_empty_and_counts_from_one(postgres: DatabaseServer) -> None:
    with postgres.fresh_database() as first, psycopg.connect(first) as connection:
        connection.execute(AUDITED)
    with postgres.fresh_database() as second, psycopg.connect(second) as connection:
        assert second == first
        assert connection.execute(AUDITED).fetchone() == (1,)
        assert connection.execute("select count(*) from audit").fetchone() == (1,)


def test_append_only_tables_still_are_in_a_database_given_on(postgres: DatabaseServer) -> None:
    with postgres.fresh_database() as first, psycopg.connect(first) as connection:
        connection.execute(AUDITED)
    with postgres.fresh_database() as second, psycopg.connect(second) as connection:
        connection.execute(AUDITED)
        with pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute("delete from audit")


def test_a_connection_left_behind_does_not_reach_the_next_test(postgres: DatabaseServer) -> None:
    with postgres.fresh_database() as first:
        left = psycopg.connect(first)
    with closing(left), pytest.raises(psycopg.OperationalError):
        left.execute(AUDITED)


@pytest.mark.parametrize(
    "change",
    [
        "alter table audit disable trigger user",
        "alter table audit drop column note",
        "drop trigger append_only on audit",
        "create table mine (id int)",
    ],
)
def test_a_database_whose_tables_were_altered_is_not_given_on(
    postgres: DatabaseServer, change: str
) -> None:
    with postgres.fresh_database() as first, psycopg.connect(first) as connection:
        connection.execute(change)
    with postgres.fresh_database() as second:
        assert second != first
