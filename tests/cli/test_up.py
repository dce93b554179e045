"""What `up` finds out before it starts anything."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.data_dir import DataDir
from db.keyring import create_keyring
from runtime.embedded_temporal import free_port
from runtime.settings import DEFAULT_CONFIG

ROOT = Path(__file__).resolve().parents[2]


def up(data_dir: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return run(data_dir.parent, "up", "--data-dir", str(data_dir), *words, **environ)


def run(here: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "cli", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
        cwd=here,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


BROKEN = re.compile(r"messages\.yaml:[0-9]+: appointment_no_show\.en\.sms: expected a text\n")


def with_a_broken_wording(directory: Path) -> Path:
    """Our configuration, with a wording beside it in which one text is none."""
    config = directory / "hospital.yaml"
    shutil.copy(DEFAULT_CONFIG, config)
    texts = DEFAULT_CONFIG.with_name("messages.yaml").read_text(encoding="utf-8")
    before, name, after = texts.partition("appointment_no_show:")
    head, _, tail = after.partition("  en:\n    sms: ")
    body = f"{before}{name}{head}  en:\n    sms: 17 #{tail}"
    (directory / "messages.yaml").write_text(body, encoding="utf-8")
    return config


@pytest.mark.parametrize("option", ["--port", "--temporal-port", "--ui-port"])
def test_a_port_in_use_is_one_line_and_nothing_is_started(tmp_path: Path, option: str) -> None:
    ports = {"--port": 0, "--temporal-port": free_port(), "--ui-port": free_port()}
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        ports[option] = stranger.getsockname()[1]
        words = [word for name, port in ports.items() for word in (name, str(port))]
        done = up(tmp_path / "data", *words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"hospital: port {ports[option]} is in use; choose another with {option}\n"
    )
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_broken_configuration_is_told_before_anything_is_made(tmp_path: Path) -> None:
    config = tmp_path / "hospital.yaml"
    config.write_text("hospital:\n  id: none\n")
    done = up(tmp_path / "data", HOSPITAL_CONFIG=str(config))
    assert done.returncode == 2
    assert "hospital.yaml:2: hospital.id: expected" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_broken_wording_is_told_before_anything_is_made(tmp_path: Path) -> None:
    done = up(tmp_path / "data", HOSPITAL_CONFIG=str(with_a_broken_wording(tmp_path)))
    assert done.returncode == 2
    assert BROKEN.fullmatch(done.stderr), done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("process", ["api", "worker", "relay"])
def test_every_process_tells_a_broken_wording_in_one_line(tmp_path: Path, process: str) -> None:
    keyring = tmp_path / "keyring.json"
    create_keyring(keyring)
    done = run(
        tmp_path,
        process,
        HOSPITAL_ENV="dev",
        HOSPITAL_CONFIG=str(with_a_broken_wording(tmp_path)),
        HOSPITAL_DATABASE_URL="postgresql://127.0.0.1:1/nothing",
        HOSPITAL_KEYRING=str(keyring),
        TEMPORAL_ADDRESS="127.0.0.1:1",
    )
    assert done.returncode == 2
    assert BROKEN.fullmatch(done.stderr), done.stderr


def test_a_broken_policy_of_the_environment_is_told_by_its_name(tmp_path: Path) -> None:
    name = "HOSPITAL_POLICIES__APPOINTMENT__PAYMENT_WINDOW"
    done = up(tmp_path / "data", **{name: "soon"})
    assert done.returncode == 2
    assert done.stderr.startswith(name)
    assert done.stderr.count("\n") == 1


def test_two_houses_on_one_directory_are_one_line(tmp_path: Path) -> None:
    with DataDir.open(tmp_path / "data"):
        done = up(tmp_path / "data", "--port", "0")
    assert done.returncode == 1
    assert f"(process {os.getpid()}) uses {tmp_path / 'data'}" in done.stderr
    assert done.stderr.count("\n") == 1
