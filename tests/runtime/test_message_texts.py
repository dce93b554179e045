from pathlib import Path

import pytest

from runtime.message_texts import DEFAULT_TEXTS, MessageTextsError, load_message_texts


def test_the_shipped_wording_loads() -> None:
    load_message_texts()


def test_a_fault_is_told_with_file_line_and_field(tmp_path: Path) -> None:
    good = DEFAULT_TEXTS.read_text(encoding="utf-8")
    bad = good.replace("预约成功：{starts_at}，地点", "预约成功：{department}，地点", 1)
    line = next(n for n, text in enumerate(bad.splitlines(), 1) if "{department}，地点" in text)
    path = tmp_path / "messages.yaml"
    path.write_text(bad, encoding="utf-8")
    with pytest.raises(MessageTextsError) as caught:
        load_message_texts(path)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{path}:{line}: appointment_confirmed.zh.sms: {{department}} is not")
    assert second.endswith("{starts_at} must be named")


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b""])
def test_what_is_no_yaml_of_texts_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "messages.yaml"
    path.write_bytes(content)
    with pytest.raises(MessageTextsError, match=r"messages\.yaml"):
        load_message_texts(path)


def test_a_missing_file_is_told_plainly(tmp_path: Path) -> None:
    with pytest.raises(MessageTextsError, match="No such file"):
        load_message_texts(tmp_path / "none.yaml")
