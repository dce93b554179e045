"""The embedded PostgreSQL: starts, keeps what it has, recovers from a killed parent."""

import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from runtime.embedded_postgres import EmbeddedPostgres, PostgresError


def one(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    return row[0] if row else None


def test_a_second_start_finds_the_rows_of_the_first(tmp_path: Path) -> None:
    with (
        EmbeddedPostgres.start(tmp_path / "pg", fsync=False) as server,
        psycopg.connect(server.create_database("hospital")) as connection,
    ):
        connection.execute("CREATE TABLE visit AS SELECT 7 AS number")
    with EmbeddedPostgres.start(tmp_path / "pg", fsync=False) as server:
        assert one(server.create_database("hospital"), "SELECT number FROM visit") == 7


@pytest.mark.parametrize("name", ["with space", "with,comma", "with%25'\"quotes", "long" * 30])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    with EmbeddedPostgres.start(tmp_path / name / "pg", fsync=False) as server:
        assert one(server.url, "SHOW server_encoding") == "UTF8"
        socket_dir = server.socket_dir
    assert socket_dir.is_relative_to(tmp_path) or not socket_dir.exists()


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pg").mkdir()
    (tmp_path / "pg" / "letter.txt").write_text("keep me")
    with pytest.raises(PostgresError, match="neither empty nor"):
        EmbeddedPostgres.start(tmp_path / "pg", fsync=False)
    assert (tmp_path / "pg" / "letter.txt").read_text() == "keep me"


def test_a_stale_pid_file_of_another_program_does_not_hinder(tmp_path: Path) -> None:
    EmbeddedPostgres.start(tmp_path / "pg", fsync=False).stop()
    (tmp_path / "pg" / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path / 'pg'}\n1\n")
    with EmbeddedPostgres.start(tmp_path / "pg", fsync=False) as server:
        assert one(server.url, "SELECT 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
@pytest.mark.parametrize("name", ["pg", "long" * 30])
def test_a_killed_parent_leaves_no_server_and_a_usable_cluster(tmp_path: Path, name: str) -> None:
    program = (
        "import sys, time; from pathlib import Path;"
        "from runtime.embedded_postgres import EmbeddedPostgres;"
        "server = EmbeddedPostgres.start(Path(sys.argv[1]), fsync=False);"
        "print(server._process.pid, server.socket_dir, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / name)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    server_pid, socket_dir = parent.stdout.readline().split()
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    with EmbeddedPostgres.start(tmp_path / name, fsync=False) as server:
        assert one(server.url, "SELECT 1") == 1
        assert not _alive(int(server_pid))
    assert Path(socket_dir) == tmp_path / name or not Path(socket_dir).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users")
def test_two_first_starts_at_once_make_one_user() -> None:
    name = f"hospital-test-{os.getpid()}"
    program = (
        "import sys; from runtime import embedded_postgres as it;"
        "it.SYSTEM_USER = sys.argv[1]; sys.stdin.readline(); print(it._system_user().pw_uid)"
    )
    try:
        starts = [
            subprocess.Popen(
                [sys.executable, "-c", program, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for start in starts:
            assert start.stdin is not None
            start.stdin.write("now\n")
            start.stdin.flush()
        numbers = {int(start.communicate()[0]) for start in starts}
        assert numbers == {pwd.getpwnam(name).pw_uid}
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)


def _alive(pid: int, patience: float = 5) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return False
        time.sleep(0.02)
    return True
