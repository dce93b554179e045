"""The launcher: any shell, any folder, and an environment that is whole or is mended."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.install import InstallError, install

ROOT = Path(__file__).resolve().parents[2]
LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose lock files ask for nothing and whose command line only tells its words."""
    root = tmp_path / "with space"
    (root / "cli").mkdir(parents=True)
    shutil.copy(ROOT / "hospital", root)
    shutil.copy(ROOT / "cli" / "install.py", root / "cli")
    (root / "cli" / "__init__.py").touch()
    (root / "cli" / "__main__.py").write_text("import sys; print('words', sys.argv[1:])")
    (root / LOCK).touch()
    (root / DEV_LOCK).touch()
    return root


def launch(
    program: Path, *words: str, cwd: Path | None = None, path: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *words],
        cwd=cwd,
        env={"PATH": path or os.environ["PATH"], "HOME": str(program.parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_works_through_a_symlink_from_another_folder_with_a_cli_of_its_own(
    checkout: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "cli").mkdir(parents=True)
    (elsewhere / "cli" / "__main__.py").write_text("print('the wrong one')")
    (tmp_path / "link").symlink_to(Path("with space") / "hospital")
    first = launch(tmp_path / "link", "up", "--data-dir", "a b", cwd=elsewhere)
    assert "Installing 0 packages" in first.stdout
    again = launch(tmp_path / "link", "up", "--data-dir", "a b", cwd=elsewhere)
    assert again.stdout == "words ['up', '--data-dir', 'a b']\n"


def test_two_launches_at_once_make_one_environment(checkout: Path) -> None:
    both = [
        subprocess.Popen([checkout / "hospital", "up"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("Installing" in text for text in said) == 1
    assert all(text.endswith("words ['up']\n") for text in said)


@pytest.mark.second_tier
def test_a_changed_lock_and_the_packages_for_tests_are_installed_once(
    checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def installs(lock: str) -> bool:
        install(checkout, lock)
        return "Installing" in capfd.readouterr().out

    assert installs(LOCK)
    assert not installs(LOCK)
    assert installs(DEV_LOCK)
    (checkout / LOCK).write_text("# changed\n")
    assert installs(LOCK)


@pytest.mark.second_tier
def test_an_environment_that_lost_its_python_or_was_half_made_is_made_anew(
    checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def makes() -> bool:
        install(checkout, LOCK)
        return "Making" in capfd.readouterr().out

    assert makes()
    python = checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert makes()
    (checkout / ".venv" / f".installed-{LOCK}").unlink()
    (checkout / ".venv" / ".installing").touch()
    assert makes()
    assert not makes()


def test_a_failed_installation_leaves_no_stamp(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (checkout / LOCK).write_text("no-such-package==1 --hash=sha256:00\n")
    with pytest.raises(InstallError, match="the installation failed"):
        install(checkout, LOCK)
    assert not (checkout / ".venv" / f".installed-{LOCK}").exists()


def test_without_a_new_python_there_is_one_clear_line(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "bin"
    old.mkdir()
    for tool in ("dirname", "readlink"):
        (old / tool).symlink_to(str(shutil.which(tool)))
    none = launch(checkout / "hospital", path=str(old))
    assert none.returncode == 1
    assert none.stderr == "hospital: needs Python 3.11 or newer, found no Python\n"
    (old / "python3").write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2 || exit 1\n')
    (old / "python3").chmod(0o755)
    ancient = launch(checkout / "hospital", path=str(old))
    assert ancient.stderr == "hospital: needs Python 3.11 or newer, found Python 3.9.2\n"


def test_the_installer_needs_the_standard_library_only() -> None:
    program = "import runpy, sys; runpy.run_path(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, ROOT / "cli" / "install.py"], check=False
    )
    assert done.returncode == 0
