"""What `up` finds out before it starts anything."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.data_dir import DataDir
from runtime.embedded_temporal import free_port

ROOT = Path(__file__).resolve().parents[2]


def up(data_dir: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "cli", "up", "--data-dir", str(data_dir), *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
        cwd=data_dir.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


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
