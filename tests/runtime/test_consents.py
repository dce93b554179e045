from datetime import date
from pathlib import Path

import pytest

from domain.consent import ConsentKind
from runtime.config import ConfigError
from runtime.consents import load_consents

WORDS = "title: {zh: 甲, en: A}, text"
GOOD = f"""
consents:
  - {{kind: online_care, version: "1", valid_from: 2026-01-01, {WORDS}: {{zh: 乙, en: B}}}}
  - {{kind: online_care, version: "2", valid_from: 2026-02-01, {WORDS}: {{zh: 丙, en: C}}}}
  - {{kind: guardian, version: "1", valid_from: 2026-01-01, {WORDS}: {{zh: 乙, en: B}}}}
"""


def test_the_shipped_texts_load_and_one_of_each_kind_is_valid() -> None:
    texts = load_consents()
    assert all(texts.current(kind, date(2026, 11, 23)) for kind in ConsentKind)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "consents.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_two_kinds_may_have_the_same_version_and_day(tmp_path: Path) -> None:
    assert len(load_consents(written(tmp_path, GOOD).with_name("hospital.yaml")).consents) == 3


@pytest.mark.parametrize(
    ("right", "wrong", "line", "said"),
    [
        ('version: "2"', 'version: "1"', 4, "online_care has 1 twice, first in"),
        ("2026-02-01", "2026-01-01", 4, "online_care has 2026-01-01 twice, first in"),
        ("kind: guardian", "kind: online_care", 5, "version: online_care has 1 twice"),
        ("kind: guardian", "kind: parents", 5, "expected one of online_care, guardian"),
        ('version: "2"', 'version: "a b"', 4, "expected a version such as 2026-01"),
        ("2026-02-01", "2026-02-31", 4, "expected a day such as"),
        ("zh: 丙, en: C", "zh: 丙", 4, "text.en: missing"),
        (GOOD[GOOD.index("  - {kind: guardian") :], "", 2, "a text of the kind guardian"),
    ],
)
def test_a_fault_is_told_with_file_line_and_field(
    tmp_path: Path, right: str, wrong: str, line: int, said: str
) -> None:
    path = written(tmp_path, GOOD.replace(right, wrong, 1))
    with pytest.raises(ConfigError) as caught:
        load_consents(path.with_name("hospital.yaml"))
    assert f"{path}:{line}: " in str(caught.value)
    assert said in str(caught.value)


def test_what_is_no_list_of_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a list"):
        load_consents(written(tmp_path, "consents: none").with_name("hospital.yaml"))
