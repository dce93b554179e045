"""The image without an engine: the Dockerfile's first stage, done in an empty directory."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Step:
    word: str  # FROM, COPY, RUN, …
    rest: str


def steps() -> list[Step]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", " ", text)
    return [Step(*line.split(" ", 1)) for line in text.splitlines() if line]


def stages() -> list[list[Step]]:
    found: list[list[Step]] = []
    for step in steps():
        if step.word == "FROM":
            found.append([])
        if found:
            found[-1].append(step)
    return found


def sent_to_the_builder() -> Iterator[Path]:
    """Files of the context, by `.dockerignore`: of the patterns that fit, the last one counts."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    top = {line.removeprefix("!") for line in patterns if line.startswith("!")}
    for name in sorted(top):  # nothing else is let in
        start = ROOT / name
        for file in [start] if start.is_file() else sorted(start.rglob("*")):
            if file.is_file() and not _ignored(file.relative_to(ROOT), patterns):
                yield file.relative_to(ROOT)


def _ignored(file: Path, patterns: list[str]) -> bool:
    ignored = False
    for pattern in patterns:
        if any(_fits(path, pattern.removeprefix("!")) for path in (file, *file.parents)):
            ignored = not pattern.startswith("!")
    return ignored


def _fits(path: Path, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(path.name, pattern.removeprefix("**/"))
    return len(path.parts) == pattern.count("/") + 1 and fnmatch.fnmatch(str(path), pattern)


@dataclass(frozen=True)
class Image:
    """A file system of its own below `root`, with the machine's Python under it."""

    root: Path

    def build(self) -> None:
        for step in stages()[0]:
            if step.word == "COPY":
                self._copy(*step.rest.split())
            elif step.word == "RUN":
                self._run(step.rest)

    def _copy(self, source: str, to: str) -> None:
        into = self.inside(to)
        for file in sent_to_the_builder():
            if source == ".":
                target = into / file
            elif str(file) == source:
                target = into
            else:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, target)

    def _run(self, command: str) -> None:
        command = re.sub(r"(?<=\s)/(?=venv|app|build)", f"{self.root}/", f" {command}")
        command = re.sub(r"(?<=\s)python(?=\s)", shlex.quote(sys.executable), command)
        done = subprocess.run(
            ["sh", "-euc", command], cwd=self.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def inside(self, path: str) -> Path:
        return self.root / path.removeprefix("/")

    def command(self, *words: str) -> list[str]:
        """By the image's ENTRYPOINT."""
        entrypoint = next(step for step in stages()[-1] if step.word == "ENTRYPOINT").rest
        first, *rest = re.findall(r'"([^"]+)"', entrypoint)
        assert first == "python"
        return [str(self.inside("/venv/bin/python")), *rest, *words]

    def environ(self, **settings: str) -> dict[str, str]:
        return {
            "PATH": f"{self.inside('/venv/bin')}:{os.defpath}",
            "PYTHONPATH": str(self.inside("/app")),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOSPITAL_BUILD": "test",
            **settings,
        }

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.inside("/app"),
            env=self.environ(**settings),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def files(self) -> set[Path]:
        return {file for file in self.root.rglob("*") if file.is_file()}
