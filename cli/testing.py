"""`./hospital test`: style, types, imports, dependencies, then the tests."""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cli.addresses import cores

ROOT = Path(__file__).resolve().parent.parent

_MODULE = (sys.executable, "-P", "-m")
_LINT_IMPORTS = "from importlinter.cli import lint_imports_command as lint; lint()"
_CHECKS = {
    "ruff check": (*_MODULE, "ruff", "check", "."),
    "ruff format": (*_MODULE, "ruff", "format", "--check", "."),
    "mypy": (*_MODULE, "mypy"),
    "import-linter": (sys.executable, "-c", _LINT_IMPORTS),
    "pip check": (*_MODULE, "pip", "--disable-pip-version-check", "check"),
}
_AUDIT_PATIENCE = 180.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "./hospital test [--all] [--only-tests] [pytest arguments]"
    parser.add_argument(
        "--all", action="store_true", help="also the second tier and known vulnerabilities"
    )
    parser.add_argument("--only-tests", action="store_true", help="nothing but pytest")
    parser.set_defaults(passed_on=[])


@dataclass(frozen=True)
class Outcome:
    """How one check ended; `output` is for the reader when it failed, `remark` always."""

    name: str
    failed: bool
    seconds: float
    output: str = ""
    remark: str = ""


def main(args: argparse.Namespace) -> int:
    """0 when everything holds. The checks' summary comes first, pytest's closing line last."""
    outcomes = [] if args.only_tests else _check_all(with_audit=args.all)
    _summarize(outcomes)
    tier = () if args.all else ("-m", "not second_tier")
    tests = subprocess.run(
        # pytest's own `auto` counts cores that a container may not use.
        [*_MODULE, "pytest", "-n", str(cores()), *tier, *args.passed_on],
        cwd=ROOT,
        check=False,
    )
    return 1 if tests.returncode or any(outcome.failed for outcome in outcomes) else 0


def _check_all(*, with_audit: bool) -> list[Outcome]:
    outcomes = []
    for name, command in _CHECKS.items():
        print(f"{name} …", flush=True)
        started = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        spent = time.monotonic() - started
        outcomes.append(Outcome(name, done.returncode != 0, spent, done.stdout + done.stderr))
    if with_audit:
        print("pip-audit …", flush=True)
        outcomes.append(_audit())
    return outcomes


def _audit() -> Outcome:
    """Known vulnerabilities of what is installed where the advisories can be asked."""
    started = time.monotonic()
    command = (*_MODULE, "pip_audit", "--disable-pip", "--require-hashes", "--format", "json")
    options = ("--progress-spinner", "off", "--timeout", "10", "-r", "requirements-dev.lock")
    try:
        done = subprocess.run(
            [*command, *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_AUDIT_PATIENCE,
            check=False,
        )
        report = done.stdout
    except subprocess.TimeoutExpired:
        report = ""
    failed, remark = judge_audit(report)
    return Outcome("pip-audit", failed, time.monotonic() - started, report, remark)


def judge_audit(report: str) -> tuple[bool, str]:
    """Whether pip-audit's JSON report names a vulnerability, and what there is to say.

    Where no advisory source can be reached there is no report, or one that skips everything.
    """
    try:
        dependencies = json.loads(report)["dependencies"]
    except ValueError:
        dependencies = []
    audited = [one for one in dependencies if "vulns" in one]
    found = [
        f"{one['name']} {one['version']}: {vulnerability['id']}"
        for one in audited
        for vulnerability in one["vulns"]
    ]
    if found:
        return True, "; ".join(found)
    if not audited:
        return False, "not audited: no advisory source reachable"
    skipped = len(dependencies) - len(audited)
    return False, f"{len(audited)} audited" + (f", {skipped} not" if skipped else "")


def _summarize(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.failed:
            print(f"\n--- {outcome.name}\n{outcome.output.strip()}")
    print()
    for outcome in outcomes:
        word = "FAILED" if outcome.failed else "ok"
        print(f"{outcome.name:<14} {word:<7} {outcome.seconds:5.1f} s  {outcome.remark}".rstrip())
    print(flush=True)
