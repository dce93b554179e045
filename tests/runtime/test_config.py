"""The hospital's configuration: what it says, and how it tells what does not fit."""

from collections.abc import Callable
from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from domain.hospital import Compliance, DoctorLevel, Feature, HospitalConfig, Policies
from runtime.config import ConfigError, load_config
from runtime.settings import DEFAULT_CONFIG

MINIMAL = """\
hospital:
  id: 1
  name: 示例互联网医院
  address: 北京市朝阳区
  phone: 010-12345678
  description: 专业的互联网医疗服务平台
  features: [appointment]
departments:
  - {id: 1, name: 内科}
consultation_prices: {}
registration_fees:
  - {level: chief, name: 主任医师, price: 50}
"""

Edit = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., HospitalConfig]:
    monkeypatch.chdir(tmp_path)

    def from_text(text: str | bytes, **environ: str) -> HospitalConfig:
        Path("hospital.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return load_config(Path("hospital.yaml"), environ)

    return from_text


@pytest.fixture
def problems(load: Callable[..., HospitalConfig]) -> Edit:
    def of(text: str | bytes, **environ: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, **environ)
        return str(caught.value).split("\n")

    return of


@pytest.fixture
def swapped(problems: Edit) -> Edit:
    """The problems of the delivered file after a piece of it was exchanged."""

    def of(old: str, new: str) -> list[str]:
        text = DEFAULT_CONFIG.read_text(encoding="utf-8")
        assert text.count(old) == 1
        return problems(text.replace(old, new))

    return of


# What the delivered file says


def test_the_delivered_file_holds_the_specified_values() -> None:
    config = load_config(DEFAULT_CONFIG, {})
    assert config.hospital.name == "示例互联网医院"
    assert config.hospital.phone == "010-12345678"
    assert config.hospital.features == frozenset(Feature) - {Feature.REMOTE_CONSULTATION}
    tops = [(d.id, d.name) for d in config.departments if d.parent_id is None]
    assert tops == [(1, "内科"), (2, "外科"), (3, "儿科")]
    prices = config.consultation_prices
    assert [str(p.price) for p in prices.text] == ["19.90", "39.90", "99.90"]
    assert [str(p.price) for p in prices.video] == ["29.90", "59.90", "129.90"]
    assert config.prescription_rules.max_days == 30
    assert config.prescription_rules.control_drugs.max_days == 7
    assert config.registration_fee(DoctorLevel.CHIEF) == Decimal(50)
    assert config.compliance is Compliance.NONE


def test_the_delivered_policies_are_the_defaults_but_for_demo_logins() -> None:
    policies, defaults = load_config(DEFAULT_CONFIG, {}).policies, Policies()
    assert policies.accounts.codes_per_address_per_hour == 5000
    assert (policies.appointment, policies.payment, policies.messages) == (
        defaults.appointment,
        defaults.payment,
        defaults.messages,
    )


def test_policies_may_be_left_out(load: Callable[..., HospitalConfig]) -> None:
    config = load(MINIMAL)
    assert config.policies == Policies()
    assert config.consultation_prices.emergency is None


def test_a_byte_order_mark_is_no_problem(load: Callable[..., HospitalConfig]) -> None:
    assert load(b"\xef\xbb\xbf" + MINIMAL.encode()).hospital.id == 1


# What does not fit


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "payment_window: PT15M # unpaid after this, the source goes back",
            "payment_window: 15 min",
            "policies.appointment.payment_window: expected an ISO 8601 duration above zero "
            "such as PT15M, got '15 min'",
        ),
        (
            "payment_window: PT15M # unpaid after this, the source goes back",
            "payment_window: 900",
            "got '900'",
        ),
        (
            "payment_window: PT15M # unpaid after this, the source goes back",
            "payment_window: PT0S",
            "above zero",
        ),
        ("check_in_opens: PT30M", "check_in_opens: P1M", "an ISO 8601 duration such as PT15M"),
        ("check_in_opens: PT30M", "check_in_opens: PT", "an ISO 8601 duration such as PT15M"),
        ("check_in_opens: PT30M", "check_in_opens: -PT5M", "an ISO 8601 duration such as PT15M"),
        ("[PT24H, PT2H]", "[PT24H, 2]", "policies.appointment.reminders[1]: expected"),
        ("[PT24H, PT2H]", "[PT2H, PT2H]", "policies.appointment.reminders[1]: 'PT2H' is listed tw"),
        ("[PT24H, PT2H]", "PT24H", "policies.appointment.reminders: expected a list"),
        ("2027-02-05", "2027-02-30", "holidays[1]: expected a day such as 2027-01-01, got"),
        ("2027-02-05", "2027-01-01", "holidays[1]: '2027-01-01' is listed twice"),
        ('start: "22:00"', 'start: "24:00"', 'quiet_hours.start: expected a time of day such as "'),
        ('start: "22:00"', 'start: "06:00"', "a span across midnight"),
        ("horizon_days: 14", "horizon_days: 0", "expected a whole number from 1, got '0'"),
        ("horizon_days: 14", "horizon_days: '14'", "horizon_days: expected a whole number"),
        ("horizon_days: 14", "horizon_days: 1_4", "horizon_days: expected a whole number"),
        ("late_refund_share: 0 ", "late_refund_share: 1.1 ", "a share between 0 and 1"),
        ("price: 39.9}", "price: 39.905}", "consultation_prices.text[1].price: expected a n"),
        (
            "price: 39.9}",
            "price: -1}",
            "not negative, got '-1'",
        ),
        ("price: 39.9}", "price: .inf}", "at most two decimals"),
        ("price: 39.9}", "price: 1e2}", "at most two decimals"),
        ("price: 39.9}", "price: }", "at most two decimals such as 19.90, not negative, got noth"),
        ("emergency: 49.9", "emergency: free", "consultation_prices.emergency: expected a number"),
        ("Asia/Shanghai\n  feat", "Asia\n  feat", "hospital.time_zone: expected a time zone"),
        ("Asia/Shanghai\n  feat", "../x\n  feat", "hospital.time_zone: expected a time zone"),
        ("Asia/Shanghai\n  feat", "Mars/Base\n  feat", "hospital.time_zone: expected a time zone"),
        ("phone: 010-12345678", "phone: 4001234", "hospital.phone: expected a text (in quotes"),
        ("phone: 010-12345678", "phone: ' '", "hospital.phone: expected a text"),
        ("- prescription\n", "- prescriptions\n", "features[2]: expected one of online_consul"),
        ("- prescription\n", "- appointment\n", "features[2]: 'appointment' is listed twice"),
        ("{id: 22,", "{id: 21,", "departments[8].id: 21 is there twice, first in hospital.yaml:"),
        ("{id: 22,", "{id: 0,", "departments[8].id: expected a whole number from 1"),
        ("骨科, parent_id: 2", "骨科, parent_id: 99", "expected the id of a department, got 99"),
        ("骨科, parent_id: 2", "骨科, parent_id: 22", "department 22 lies below this one"),
        (
            "price: 59.9}\n    - {level: chief",
            "price: 59.9}\n    - {level: attending",
            "is there tw",
        ),
        ("require_audit: true", "require_audit: yes", "require_audit: expected true or false"),
        ("sms: console", "sms: pigeon", "messages.sms: expected one of console, twilio"),
        ("voice: console", "voice: horn", "messages.voice: expected one of console, twilio"),
        ("order: [sms", "order: [fax", "policies.messages.order[0]: expected one of sms, email"),
        ("compliance: none", "compliance: gdpr", "compliance: expected one of none, cn-2022"),
        ("  accounts:", "  account:", "policies.account: unknown field; did you mean accounts?"),
        ("code_tries: 5", "code_trys: 5", "accounts.code_trys: unknown field; did you mean code_t"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(
    swapped: Edit, old: str, new: str, said: str
) -> None:
    text = DEFAULT_CONFIG.read_text(encoding="utf-8")
    differences = (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    offset = next(differences, min(len(old), len(new)))
    line = text.count("\n", 0, text.index(old) + offset) + 1
    (problem,) = swapped(old, new)
    assert problem.startswith(f"hospital.yaml:{line}: ")
    assert said in problem


def test_every_problem_is_told_at_once(problems: Edit) -> None:
    text = MINIMAL.replace("id: 1\n", "id: one\n").replace("price: 50", "price: -5")
    text += "policies:\n  appointment:\n    reminders: [5]\n  pay: {}\n"
    told = problems(text, HOSPITAL_POLICIES__ACCOUNTS__CODE_TRIES="0")
    assert [line.split(": ")[0] for line in told] == [
        "hospital.yaml:2",
        "hospital.yaml:12",
        "hospital.yaml:15",
        "hospital.yaml:16",
        "HOSPITAL_POLICIES__ACCOUNTS__CODE_TRIES",
    ]


def test_a_circle_of_departments_is_found_beside_another_problem(problems: Edit) -> None:
    circle = "  - {id: 1, name: 内科, parent_id: 2}\n  - {id: 2, name: '', parent_id: 1}\n"
    told = problems(MINIMAL.replace("  - {id: 1, name: 内科}\n", circle))
    assert [line.split(": ")[1] for line in told] == [
        "departments[0].parent_id",
        "departments[1].name",
        "departments[1].parent_id",
    ]


def test_a_missing_field_is_named_at_its_group(problems: Edit) -> None:
    (problem,) = problems(MINIMAL.replace("  name: 示例互联网医院\n", ""))
    assert problem.startswith("hospital.yaml:1: hospital.name: missing; expected a text")
    (problem,) = problems(MINIMAL.replace("departments:\n  - {id: 1, name: 内科}\n", ""))
    assert problem == "hospital.yaml:1: departments: missing; expected a list"


def test_a_hospital_has_a_department(problems: Edit) -> None:
    (problem,) = problems(MINIMAL.replace("\n  - {id: 1, name: 内科}", " []"))
    assert problem == "hospital.yaml:8: departments: expected at least one department"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + "hospital: {}\n", "13: hospital: written twice, first on line 1"),
        (MINIMAL.replace("  id: 1\n", "\tid: 1\n"), "2: not YAML: found character '\\t' that"),
        (MINIMAL + "policies: [\n", "14: not YAML: "),
        (MINIMAL.encode() + b"x: \xff\n", "13: not UTF-8 text"),
        (MINIMAL + "x: \x07\n", "13: not YAML: special characters are not allowed"),
        ("", "1: the file is empty"),
        ("- 1\n", "1: expected the fields hospital, departments, "),
        ("a: &a [*a]\n", "1: not usable YAML: nested without end"),
        ("[" * 5000, "1: not usable YAML: nested without end"),
        (MINIMAL + '"x\\ny": 1\n', "13: 'x\\ny': unknown field; known are compliance, "),
    ],
)
def test_a_broken_file_is_one_line(problems: Edit, text: str | bytes, said: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"hospital.yaml:{said}")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^\S+nowhere.yaml: cannot be read \(No such file"):
        load_config(tmp_path / "nowhere.yaml", {})


# The environment


def test_the_environment_overrides_policies(load: Callable[..., HospitalConfig]) -> None:
    policies = load(
        MINIMAL + "policies: {appointment: {payment_window: PT9M}}\n",
        HOSPITAL_POLICIES__APPOINTMENT__PAYMENT_WINDOW="PT5S",
        HOSPITAL_POLICIES__APPOINTMENT__REMINDERS="PT24H, PT2H,PT0.5S",
        HOSPITAL_POLICIES__APPOINTMENT__QUIET_HOURS__START="23:30",
        HOSPITAL_POLICIES__APPOINTMENT__LATE_REFUND_SHARE="0.5",
        HOSPITAL_POLICIES__ACCOUNTS__CODE_TRIES="3",
        HOSPITAL_POLICIES__MESSAGES__ORDER="",
        HOSPITAL_DATABASE_URL="not a policy",
    ).policies
    assert policies.appointment.payment_window == timedelta(seconds=5)
    assert policies.appointment.reminders[2] == timedelta(seconds=0.5)
    assert policies.appointment.quiet_hours.start == time(23, 30)
    assert policies.appointment.late_refund_share == Decimal("0.50")
    assert policies.accounts.code_tries == 3
    assert policies.messages.order == ()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "HOSPITAL_POLICIES__APPOINTMENT__PAYMENT_WINDOW",
            "5",
            "policies.appointment.payment_window: expected an ISO 8601 duration above zero "
            "such as PT15M, got '5'",
        ),
        (
            "HOSPITAL_POLICIES__APPOINTMENT__REMINDERS",
            "PT2H,soon",
            "policies.appointment.reminders[1]: expected an ISO 8601 duration above zero "
            "such as PT15M, got 'soon'",
        ),
        (
            "HOSPITAL_POLICIES__APPOINTMENT__PAYMENT_WINDOWS",
            "PT5S",
            "unknown policy 'payment_windows'; did you mean payment_window?",
        ),
        (
            "HOSPITAL_POLICIES__APPOINTMENTS__PAYMENT_WINDOW",
            "PT5S",
            "unknown policy 'appointments'; did you mean appointment?",
        ),
        (
            "HOSPITAL_POLICIES__APPOINTMENT__REMINDERS__0",
            "PT5S",
            "unknown policy '0'; what stands before it has no fields",
        ),
        (
            "HOSPITAL_POLICIES__APPOINTMENT__QUIET_HOURS",
            "x",
            "is a group; set one of its fields (start, end)",
        ),
        (
            "HOSPITAL_POLICIES_APPOINTMENT_REMINDERS",
            "PT5S",
            "unknown variable; policies are set by HOSPITAL_POLICIES__GROUP__FIELD",
        ),
    ],
)
def test_an_error_in_the_environment_names_the_variable(
    problems: Edit, name: str, value: str, said: str
) -> None:
    assert problems(MINIMAL, **{name: value}) == [f"{name}: {said}"]
