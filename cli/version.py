"""`./hospital version`."""

import argparse
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def main(_args: argparse.Namespace) -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    print(project["name"], project["version"])
    return 0
