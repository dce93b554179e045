"""What the audit of known vulnerabilities says, and when it fails."""

import json

from cli.testing import judge_audit

SKIPPED = {"name": "a", "skip_reason": "Dependency not found on PyPI and could not be audited"}
SOUND = {"name": "b", "version": "1", "vulns": []}
BROKEN = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}


def report(*dependencies: object) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_without_an_advisory_source_it_says_so_and_does_not_fail() -> None:
    nothing = (False, "not audited: no advisory source reachable")
    assert judge_audit("") == nothing
    assert judge_audit(report(SKIPPED, SKIPPED)) == nothing


def test_a_vulnerability_fails_with_package_and_number() -> None:
    assert judge_audit(report(SKIPPED, SOUND, BROKEN)) == (True, "c 2: PYSEC-1; c 2: PYSEC-2")


def test_what_could_not_be_audited_is_counted() -> None:
    assert judge_audit(report(SOUND, SKIPPED)) == (False, "1 audited, 1 not")
    assert judge_audit(report(SOUND)) == (False, "1 audited")
