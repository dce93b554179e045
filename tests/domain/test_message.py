import copy
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from domain.message import (
    FACTS,
    HEALTH,
    KINDS,
    OPTIONAL,
    Channel,
    InvalidTexts,
    Language,
    MessageTexts,
    Template,
    Value,
    WrongParameters,
    allowed,
    channels_of,
    next_channel,
    placeholders,
    tell_instant,
)
from domain.sms import sms_segments
from domain.waitlist import LineEnd

SHIPPED: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "config" / "messages.yaml").read_text(encoding="utf-8")
)
SHANGHAI = ZoneInfo("Asia/Shanghai")
TYPICAL: dict[str, Value] = {
    "hospital": "示范市第一互联网医院",
    "order_no": "AP20261123000123",
    "link": "https://hospital.example.org/a/AP20261123000123",
    "code": "048213",
    "minutes": 5,
    "starts_at": datetime(2026, 11, 23, 1, 0, tzinfo=UTC),
    "pay_by": datetime(2026, 11, 22, 12, 45, tzinfo=UTC),
    "due": datetime(2026, 11, 22, 13, 15, tzinfo=UTC),
    "until": date(2027, 2, 21),
    "place": "A3-07",
    "number": 12,
    "amount": Decimal("25.00"),
    "doctor": "王示例",
    "department": "内科",
    "reason": LineEnd.LAPSED,
    "work_item": "W261123ABCDEFGHJKMN",
}
ALL = [(t, way, language) for t in Template for way in channels_of(t) for language in Language]
BY_SMS = [template for template in Template if Channel.SMS in channels_of(template)]


def shipped() -> MessageTexts:
    return MessageTexts.from_data(SHIPPED)


def params_for(template: Template, **changes: Value) -> dict[str, Value]:
    known = allowed(template, Channel.IN_APP)
    return {name: value for name, value in TYPICAL.items() if name in known} | changes


def problems_after(change: Callable[[dict[str, Any]], Any]) -> list[str]:
    data = copy.deepcopy(SHIPPED)
    change(data)
    with pytest.raises(InvalidTexts) as caught:
        MessageTexts.from_data(data)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("template", "channel", "language"), ALL)
def test_every_shipped_text_renders_with_nothing_left_in_braces(
    template: Template, channel: Channel, language: Language
) -> None:
    rendered = shipped().render(template, channel, language, params_for(template), SHANGHAI)
    assert "{" not in rendered.text + (rendered.subject or "")
    assert (rendered.subject is not None) == (channel is Channel.EMAIL)


def test_a_confirmation_tells_time_place_and_number_in_the_hospitals_zone() -> None:
    template = Template.APPOINTMENT_CONFIRMED
    params = params_for(template, hospital="示范医院", link="https://h.example/a")
    zh = shipped().render(template, Channel.SMS, Language.ZH, params, SHANGHAI)
    en = shipped().render(template, Channel.SMS, Language.EN, params, SHANGHAI)
    assert zh.text == (
        "【示范医院】预约成功：11月23日 09:00，地点 A3-07，就诊序号 12。详情 https://h.example/a"
    )
    assert "Mon 23 Nov, 09:00, place A3-07, queue number 12" in en.text


def test_an_instant_just_before_midnight_elsewhere_is_tomorrow_here() -> None:
    at = datetime(2026, 12, 31, 16, 30, tzinfo=UTC)
    assert tell_instant(at, Language.ZH, SHANGHAI) == "1月1日 00:30"
    assert tell_instant(at, Language.EN, SHANGHAI) == "Fri 1 Jan, 00:30"


def test_a_suspension_tells_the_year_and_a_refund_the_fen() -> None:
    suspended, refunded = Template.APPOINTMENT_SUSPENDED, Template.PAYMENT_REFUNDED
    texts = shipped()
    zh = texts.render(suspended, Channel.SMS, Language.ZH, params_for(suspended), SHANGHAI)
    en = texts.render(suspended, Channel.IN_APP, Language.EN, params_for(suspended), SHANGHAI)
    money = params_for(refunded, amount=Decimal("12.5"))
    refund = texts.render(refunded, Channel.SMS, Language.ZH, money, SHANGHAI)
    assert "2027年2月21日" in zh.text
    assert "21 Feb 2027" in en.text
    assert "¥12.50" in refund.text


# --- no health content in SMS and e-mail ---


@pytest.mark.parametrize("template", BY_SMS)
@pytest.mark.parametrize("channel", [Channel.SMS, Channel.EMAIL])
def test_no_sms_or_email_can_name_a_health_placeholder(
    template: Template, channel: Channel
) -> None:
    assert not allowed(template, channel) & HEALTH
    for language, name in product(Language, HEALTH):

        def name_it(data: dict[str, Any], language: str = language, name: str = name) -> None:
            texts = data[template][language]
            if channel is Channel.EMAIL:
                texts["email"]["subject"] += f" {{{name}}}"
            else:
                texts["sms"] += f" {{{name}}}"

        (problem,) = problems_after(name_it)
        assert problem.startswith(f"{template}.{language}.{channel}: {{{name}}} is not allowed")


@pytest.mark.parametrize(("template", "channel", "language"), ALL)
def test_only_in_app_messages_tell_doctor_and_department(
    template: Template, channel: Channel, language: Language
) -> None:
    rendered = shipped().render(template, channel, language, params_for(template), SHANGHAI)
    told = rendered.text + (rendered.subject or "")
    if channel is not Channel.IN_APP:
        assert not [word for word in ("王示例", "内科", "医生", "科", "octor") if word in told]
    elif "starts_at" in FACTS[template]:
        assert "王示例" in told


def test_every_placeholder_that_is_not_health_content_is_accounted_for() -> None:
    facts = frozenset[str]().union(*FACTS.values())
    assert KINDS.keys() == facts | OPTIONAL | HEALTH
    assert not facts & HEALTH
    assert not OPTIONAL & HEALTH


def test_a_call_to_the_doctor_has_no_other_wording_than_in_app() -> None:
    called = Template.APPOINTMENT_CALLED
    assert channels_of(called) == (Channel.IN_APP,)
    (problem,) = problems_after(lambda d: d[called]["zh"].update(sms="【{hospital}】请就诊"))
    assert problem == "appointment_called.zh.sms: unknown; expected one of in_app"


# --- lengths ---


@pytest.mark.parametrize("template", BY_SMS)
@pytest.mark.parametrize("language", Language)
def test_an_sms_with_typical_values_is_at_most_two_parts(
    template: Template, language: Language
) -> None:
    names = {Language.ZH: "示范市第一互联网医院", Language.EN: "Example City Internet Hospital"}
    params = params_for(template, hospital=names[language])
    text = shipped().render(template, Channel.SMS, language, params, SHANGHAI).text
    assert sms_segments(text) <= 2
    if language is Language.ZH:
        assert len(text.encode("utf-16-be")) // 2 <= 134


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("[" * 80, 1),
        ("[" * 81, 2),
        ("医" * 70, 1),
        ("医" * 71, 2),
        ("医" * 134, 2),
        ("医" * 135, 3),
        ("a" * 71 + "医", 2),
        ("😀" * 36, 2),
        ("", 1),
    ],
)
def test_parts_of_an_sms_are_counted_as_carriers_do(text: str, segments: int) -> None:
    assert sms_segments(text) == segments


# --- a hospital's own wording ---


def test_a_hospital_may_change_the_wording() -> None:
    data = copy.deepcopy(SHIPPED)
    data["sms_code"]["zh"]["sms"] = "【{hospital}】{code}（{minutes}分钟）"
    texts = MessageTexts.from_data(data)
    params = {"hospital": "示范医院", "code": "123456", "minutes": 5}
    rendered = texts.render(Template.SMS_CODE, Channel.SMS, Language.ZH, params, SHANGHAI)
    assert rendered.text == "【示范医院】123456（5分钟）"


def test_a_missing_language_channel_or_subject_is_told_with_its_place() -> None:
    assert problems_after(lambda d: d["sms_code"].pop("en")) == ["sms_code.en: missing"]
    assert problems_after(lambda d: d["sms_code"]["zh"].pop("in_app")) == [
        "sms_code.zh.in_app: missing"
    ]
    assert problems_after(lambda d: d["sms_code"]["zh"]["email"].pop("subject")) == [
        "sms_code.zh.email.subject: missing"
    ]


def test_every_fault_is_told_at_once() -> None:
    def spoil(data: dict[str, Any]) -> None:
        data["sms_code"]["zh"]["sms"] = "【{hospital}】{code}"
        data["sms_code"]["en"]["in_app"] = "{code} {minutes} {phone}"
        data["sms_kode"] = {}
        data["appointment_no_show"]["en"]["email"] = "one line"
        data["payment_refunded"]["zh"]["in_app"] = 7

    told = "\n".join(problems_after(spoil))
    assert "sms_code.zh.sms: {minutes} must be named" in told
    assert "sms_code.en.in_app: {phone} is not allowed here" in told
    assert "sms_kode: unknown" in told
    assert "appointment_no_show.en.email: expected a mapping with subject, body" in told
    assert "payment_refunded.zh.in_app: expected a text" in told


@pytest.mark.parametrize("data", [None, [], "text", {}])
def test_what_is_no_table_of_texts_is_refused(data: object) -> None:
    with pytest.raises(InvalidTexts):
        MessageTexts.from_data(data)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (Language.ZH, "验证码 {code}，{minutes} 分钟内有效。【{hospital}】"),
        (Language.ZH, "【另一家医院】{hospital}验证码 {code}，{minutes} 分钟"),
        (Language.EN, "Your code is {code}, valid for {minutes} minutes"),
    ],
)
def test_an_sms_begins_with_the_hospitals_signature(language: Language, text: str) -> None:
    (problem,) = problems_after(lambda d: d["sms_code"][language].update(sms=text))
    assert "must begin with" in problem


@pytest.mark.parametrize(
    "text", ["{code.__class__}", "{code!r}", "{code:>99}", "{0}", "{}", "{code", "code}"]
)
def test_a_wording_cannot_reach_into_values(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        placeholders(text)
    assert problems_after(lambda d: d["sms_code"]["zh"].update(in_app=text))


# --- a caller's faults ---


def test_a_missing_unknown_or_mistyped_value_is_refused_without_being_told() -> None:
    texts, template = shipped(), Template.SMS_CODE

    def refused(**changes: Any) -> str:
        params = {k: v for k, v in params_for(template, **changes).items() if v is not None}
        with pytest.raises(WrongParameters) as caught:
            texts.render(template, Channel.SMS, Language.ZH, params, SHANGHAI)
        return str(caught.value)

    assert refused(code=None) == "sms_code by sms needs code"
    assert refused(doctor="王示例") == "sms_code has no doctor"
    assert refused(code=482913) == "code must be a str"
    assert refused(minutes=True) == "minutes must be a int"


def test_a_time_without_a_zone_is_refused() -> None:
    template = Template.APPOINTMENT_NO_SHOW
    naive = params_for(template, starts_at=datetime(2026, 11, 23, 9, 0))  # noqa: DTZ001
    with pytest.raises(WrongParameters, match="starts_at has no time zone"):
        shipped().render(template, Channel.SMS, Language.ZH, naive, SHANGHAI)


def test_a_value_stays_on_its_line_and_is_not_read_as_a_template() -> None:
    template = Template.SMS_CODE
    params = params_for(template, hospital="A\r\nBcc: x@example.org\x00 {code}")
    mail = shipped().render(template, Channel.EMAIL, Language.EN, params, SHANGHAI)
    assert mail.subject == "Your code for A Bcc: x@example.org {code}"


# --- channels ---


def test_the_next_channel_is_the_first_not_tried() -> None:
    order = [Channel.SMS, Channel.IN_APP, Channel.EMAIL]
    assert next_channel(order, []) is Channel.SMS
    assert next_channel(order, {Channel.SMS}) is Channel.IN_APP
    assert next_channel(order, {Channel.IN_APP, Channel.SMS}) is Channel.EMAIL
    assert next_channel(order, list(Channel)) is None
    assert next_channel([], []) is None
