from pathlib import Path

import pytest

from runtime.config import ConfigError
from runtime.red_flags import load_red_flags

GOOD = """
denials: {deny: [没有], still: [明显], other: [], never: []}
ignored: []
flags:
  - id: chest_pain
    severity: immediate
    name: {zh: 胸痛, en: Chest pain}
    advice: {zh: 拨打120, en: Call 120}
    sources: [{title: A guideline, year: 2019, checked: false}]
    terms: [胸痛]
  - id: fever
    severity: urgent
    name: {zh: 发热, en: Fever}
    advice: {zh: 去急诊, en: Go}
    sources: [{title: A guideline, year: 2019, checked: true}]
    combinations: [{all_of: [[发热], [发抖]], gender: male}]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "red_flags.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_red_flags_load_once() -> None:
    assert load_red_flags() is load_red_flags()


def test_a_hospital_may_have_its_own(tmp_path: Path) -> None:
    assert [
        flag.id for flag in load_red_flags(written(tmp_path, GOOD).with_name("hospital.yaml")).flags
    ] == [
        "chest_pain",
        "fever",
    ]


@pytest.mark.parametrize(
    ("right", "wrong", "line", "said"),
    [
        ("id: fever", "id: chest_pain", 11, "flags[1].id: chest_pain is there twice, first in"),
        ("id: fever", "id: Fever!", 11, "flags[1].id: expected a word such as chest_pain"),
        ("severity: urgent", "severity: mild", 12, "expected one of immediate, urgent"),
        ("[胸痛]", '["胸口~"]', 10, "flags[0].terms[0]: expected a phrase such as"),
        ("[胸痛]", '["胸口||痛"]', 10, "no part of it empty"),
        ("[胸痛]", "[胸痛, 胸痛]", 10, "'胸痛' is listed twice"),
        ("[胸痛]", '["10+片~。"]', 10, "no part of it empty"),
        ("ignored: []", 'ignored: ["~胸痛中心"]', 3, "ignored[0]: expected a phrase such as"),
        ("never: []", 'never: [], now: ["今天~"]', 2, "denials.now[0]: expected a phrase"),
        ("ignored: []", "ignored: []\npersons: [{words: [她], age: 3}]", 4, "age: unknown field"),
        (
            "ignored: []",
            "ignored: []\npersons: [{words: [她]}, {words: [他, 她]}]",
            4,
            "persons[1].words[1]: 她 is there twice, first in",
        ),
        ("[胸痛]", "[]", 10, "flags[0].terms: expected at least one"),
        ("    terms: [胸痛]\n", "", 5, "flags[0]: expected terms or combinations"),
        ("[[发热], [发抖]]", "[[发热], []]", 16, "all_of[1]: expected at least one"),
        ("[[发热], [发抖]]", "[]", 16, "all_of: expected at least one"),
        ("gender: male", "gender: man", 16, "expected one of male, female"),
        ("gender: male", "age: 3", 16, "combinations[0].age: unknown field"),
        ("year: 2019, checked: false", "year: 19, checked: false", 9, "a year such as 2019"),
        (", checked: false", "", 9, "checked: missing"),
        ("[{title: A guideline, year: 2019, checked: false}]", "[]", 9, "sources: expected"),
        ("en: Call 120", 'en: ""', 8, "advice.en: expected a text"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_file_line_and_field(
    tmp_path: Path, right: str, wrong: str, line: int, said: str
) -> None:
    assert GOOD.count(right) >= 1
    path = written(tmp_path, GOOD.replace(right, wrong, 1))
    with pytest.raises(ConfigError) as caught:
        load_red_flags(path.with_name("hospital.yaml"))
    (problem,) = str(caught.value).splitlines()
    assert problem.startswith(f"{path}:{line}: ")
    assert said in problem


def test_no_flags_at_all_is_a_fault(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.partition("flags:")[0] + "flags: []\n")
    with pytest.raises(ConfigError, match="flags: expected at least one"):
        load_red_flags(path.with_name("hospital.yaml"))


def test_without_a_file_of_its_own_a_hospital_has_ours(tmp_path: Path) -> None:
    assert load_red_flags(tmp_path / "hospital.yaml") == load_red_flags()
