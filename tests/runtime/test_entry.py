"""What an entry point refuses before it opens anything."""

from dataclasses import replace
from decimal import Decimal

import pytest

from domain.hospital import DoctorLevel, HospitalConfig, LevelPrice, MessagePolicy
from runtime.entry import refuse_stand_ins
from runtime.settings import SettingsError, read_settings
from tests.support.catalogue import a_config

NEEDED = {"HOSPITAL_DATABASE_URL": "postgresql://", "HOSPITAL_KEYRING": "keyring.json"}


BY_PHONE = (LevelPrice(DoctorLevel.CHIEF, "主任医师", Decimal("109.90")),)


def config_of(channel: str = "wechat_native", **messages: object) -> HospitalConfig:
    config = a_config()
    policies = replace(
        config.policies,
        payment=replace(config.policies.payment, channels=(channel,)),
        messages=MessagePolicy(**{"sms": "twilio", "email": "smtp", "voice": "twilio", **messages}),  # type: ignore[arg-type]
    )
    return replace(config, policies=policies)


def with_calls(config: HospitalConfig) -> HospitalConfig:
    prices = replace(config.consultation_prices, phone=BY_PHONE)
    return replace(config, consultation_prices=prices)


def test_real_gateways_are_no_stand_ins() -> None:
    refuse_stand_ins(config_of())
    refuse_stand_ins(config_of(email="console", order=("sms",)))
    refuse_stand_ins(with_calls(config_of()))


def test_where_nobody_is_ever_called_nobody_needs_to_be_able_to() -> None:
    refuse_stand_ins(config_of(voice="console"))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (config_of("sandbox"), "policies.payment.channels"),
        (config_of(sms="console"), "policies.messages.sms"),
        (config_of(sms="console", order=("email",)), "policies.messages.sms"),
        (config_of(email="console"), "policies.messages.email"),
        (with_calls(config_of(voice="console")), "policies.messages.voice"),
    ],
)
def test_a_stand_in_is_refused_in_one_line(config: HospitalConfig, name: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} is a stand-in[^\n]*$"):
        refuse_stand_ins(config)


def test_proxies_are_named_one_by_one() -> None:
    settings = read_settings({**NEEDED, "HOSPITAL_TRUSTED_PROXIES": "10.0.0.1, fd00::/64"})
    assert settings.trusted_proxies == ("10.0.0.1", "fd00::/64")
    assert read_settings(NEEDED).trusted_proxies == ()


@pytest.mark.parametrize("everybody", ["*", "10.0.0.1,*", "proxy"])
def test_nobody_trusts_everybody(everybody: str) -> None:
    with pytest.raises(SettingsError, match=r"^HOSPITAL_TRUSTED_PROXIES has '"):
        read_settings({**NEEDED, "HOSPITAL_TRUSTED_PROXIES": everybody})
