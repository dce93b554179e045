"""The hospital's own wording, and how it is told what is wrong with it."""

from pathlib import Path

import pytest

from domain.message import Channel, Language, Template
from runtime.config import ConfigError
from runtime.message_texts import load_message_texts
from runtime.settings import DEFAULT_CONFIG

SHIPPED = DEFAULT_CONFIG.with_name("messages.yaml").read_text(encoding="utf-8")
CODE_ZH = "验证码 {code}，{minutes} 分钟内有效。请勿告诉任何人。"
ITS_OWN = "您的验证码：{code}（{minutes} 分钟）。"


def beside(tmp_path: Path, content: str | bytes) -> Path:
    """The configuration's path, with this wording beside it."""
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "messages.yaml").write_bytes(raw)
    return tmp_path / "hospital.yaml"


def test_the_shipped_wording_loads_once() -> None:
    assert load_message_texts() is load_message_texts()


def test_a_hospitals_own_wording_is_read(tmp_path: Path) -> None:
    texts = load_message_texts(beside(tmp_path, SHIPPED.replace(CODE_ZH, ITS_OWN)))
    sms = texts.texts[Template.SMS_CODE, Channel.SMS, Language.ZH]
    assert sms.text == "【{hospital}】" + ITS_OWN


def test_without_one_of_its_own_ours_is_read(tmp_path: Path) -> None:
    assert load_message_texts(tmp_path / "hospital.yaml") == load_message_texts()


def test_a_fault_is_told_with_file_line_and_field(tmp_path: Path) -> None:
    bad = SHIPPED.replace("预约成功：{starts_at}，地点", "预约成功：{department}，地点", 1)
    line = next(n for n, text in enumerate(bad.splitlines(), 1) if "{department}，地点" in text)
    with pytest.raises(ConfigError) as caught:
        load_message_texts(beside(tmp_path, bad))
    first, second = str(caught.value).splitlines()
    path = tmp_path / "messages.yaml"
    assert first.startswith(f"{path}:{line}: appointment_confirmed.zh.sms: {{department}} is not")
    assert second.endswith("{starts_at} must be named")


@pytest.mark.parametrize(
    ("replaced", "by", "told"),
    [
        (
            f'    sms: "【{{hospital}}】{CODE_ZH}"',
            "    sms: 17",
            "sms_code.zh.sms: expected a text",
        ),
        (
            f'    sms: "【{{hospital}}】{CODE_ZH}"',
            "    sms: [a]",
            "sms_code.zh.sms: expected a text",
        ),
        (f'    sms: "【{{hospital}}】{CODE_ZH}"', "    sms:", "sms_code.zh.sms: missing"),
        ("sms_code:", "sms_codes:", "sms_codes: unknown; expected one of sms_code, "),
        ("sms_code:", "sms_code:\n  zh: {}\nsms_code:", "sms_code: written twice, first on line "),
    ],
)
def test_other_faults_of_shape(tmp_path: Path, replaced: str, by: str, told: str) -> None:
    assert replaced in SHIPPED
    with pytest.raises(ConfigError) as caught:
        load_message_texts(beside(tmp_path, SHIPPED.replace(replaced, by, 1)))
    assert told in str(caught.value)


@pytest.mark.parametrize("content", ["a: [", b"\xff\xfe\x00", "", "a list: {", "- 1"])
def test_what_is_no_yaml_of_texts_is_refused_in_one_line(
    tmp_path: Path, content: str | bytes
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_message_texts(beside(tmp_path, content))
    assert str(caught.value).startswith(f"{tmp_path / 'messages.yaml'}:1: ")
    assert "\n" not in str(caught.value)


def test_one_that_cannot_be_read_is_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "messages.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"messages\.yaml: cannot be read \(Is a directory\)"):
        load_message_texts(tmp_path / "hospital.yaml")
