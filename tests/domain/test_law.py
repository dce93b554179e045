"""The rules of the law as data: each refuses by a code that there is, and each has its test."""

from pathlib import Path

import pytest

from api.problems import KINDS, Problem
from domain.law import RULE_OF, RULES, Rule

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_refusal_of_a_rule_exists_names_it_and_is_tested(rule: Rule) -> None:
    assert rule.article
    assert rule.effect
    tests = "".join(
        path.read_text(encoding="utf-8")
        for path in TESTS.rglob("test_*.py")
        if path != Path(__file__)
    )
    for code in rule.codes:
        assert code in KINDS
        assert Problem(code).extra["rule"] == rule.id
        assert f'"{code}"' in tests, f"{rule.id}: nothing tests {code}"


def test_no_refusal_has_two_reasons() -> None:
    assert len(RULE_OF) == sum(len(rule.codes) for rule in RULES)
    assert len({rule.id for rule in RULES}) == len(RULES)
