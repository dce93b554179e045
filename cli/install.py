"""Makes `.venv` what a lock file says. `./hospital` runs this first, with any Python 3.11+.

Standard library only: nothing else is there yet.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME_LOCK = "requirements.lock"  # every other lock file contains it


class InstallError(Exception):
    """Why there is no usable environment, in one line for the person at the terminal."""


def main(lock_name: str) -> int:
    try:
        install(ROOT, lock_name)
    except InstallError as error:
        print(f"hospital: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def install(root: Path, lock_name: str) -> None:
    """Install unless that is done already. Two at once: the second waits."""
    if _is_done(root, lock_name):
        return
    with _alone(root):
        if not _is_done(root, lock_name):
            _install(root, lock_name)


def _is_done(root: Path, lock_name: str) -> bool:
    if _read(_stamp_file(root, lock_name)) != _stamp(root / lock_name):
        return False
    # The Python that it was made with may be gone; if it runs this, it is not.
    venv = root / ".venv"
    return Path(sys.prefix).resolve() == venv.resolve() or _has_pip(venv / "bin" / "python")


def _install(root: Path, lock_name: str) -> None:
    venv = root / ".venv"
    python = venv / "bin" / "python"
    # Left behind by an installation that was killed: half a package looks like a whole one to pip.
    unfinished = venv / ".installing"
    if unfinished.exists() or not _has_pip(python) or not _same_python(venv):
        _make_venv(venv)
    try:
        unfinished.touch()
    except OSError as refused:
        raise InstallError(f"cannot write to {venv}: {refused.strerror}") from refused
    packages = sum("==" in line for line in (root / lock_name).read_text().splitlines())
    print(f"Installing {packages} packages from {lock_name} into .venv, this once.", flush=True)
    pip = [str(python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run(
        [*pip, "install", "--require-hashes", "--no-deps", "--requirement", str(root / lock_name)],
        env=os.environ | {"PIP_ROOT_USER_ACTION": "ignore"},
        check=False,
    )
    if done.returncode:
        raise InstallError("the installation failed, see above; ./hospital goes on from there")
    unfinished.unlink()
    for name in {lock_name, RUNTIME_LOCK}:
        _stamp_file(root, name).write_text(_stamp(root / name))


def _make_venv(venv: Path) -> None:
    # The base's own interpreter: we may be running in the environment that is to be replaced.
    base = getattr(sys, "_base_executable", sys.executable)
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        raise InstallError(
            f"Python at {base} has no venv module (Debian, Ubuntu: apt install python3-venv)"
        )
    print(f"Making .venv with Python {platform.python_version()}.", flush=True)
    made = subprocess.run(
        [base, "-I", "-m", "venv", "--clear", venv], capture_output=True, text=True, check=False
    )
    if made.returncode:
        said = (made.stderr or made.stdout).strip().splitlines()
        raise InstallError(f"{venv} could not be made: {said[-1] if said else 'no reason given'}")


def _has_pip(python: Path) -> bool:
    with contextlib.suppress(OSError):
        return (
            subprocess.run(
                [python, "-I", "-m", "pip", "--version"], capture_output=True, check=False
            ).returncode
            == 0
        )
    return False


def _same_python(venv: Path) -> bool:
    """Whether its packages are where the Python that it points to looks for them."""
    major, minor, _ = platform.python_version_tuple()
    return (venv / "lib" / f"python{major}.{minor}").is_dir()


def _stamp(lock: Path) -> str:
    try:
        digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    except FileNotFoundError as missing:
        raise InstallError(f"{lock} is missing") from missing
    major, minor, _ = platform.python_version_tuple()
    return f"{digest} python{major}.{minor}\n"


def _stamp_file(root: Path, lock_name: str) -> Path:
    return root / ".venv" / f".installed-{lock_name}"


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold a lock on the folder itself: it leaves no file behind and ends with its holder."""
    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another installation to end.", flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
