"""What an entry point refuses before it opens anything."""

from dataclasses import replace

import pytest

from domain.hospital import HospitalConfig, MessagePolicy
from runtime.entry import refuse_stand_ins
from runtime.settings import SettingsError, read_settings
from tests.support.catalogue import a_config

NEEDED = {"HOSPITAL_DATABASE_URL": "postgresql://", "HOSPITAL_KEYRING": "keyring.json"}


def config_of(channel: str = "wechat_native", **messages: object) -> HospitalConfig:
    config = a_config()
    policies = replace(
        config.policies,
        payment=replace(config.policies.payment, channels=(channel,)),
        messages=MessagePolicy(**{"sms": "twilio", "email": "smtp", **messages}),  # type: ignore[arg-type]
    )
    return replace(config, policies=policies)


def test_real_gateways_are_no_stand_ins() -> None:
    refuse_stand_ins(config_of())
    refuse_stand_ins(config_of(email="console", order=("sms",)))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (config_of("sandbox"), "policies.payment.channels"),
        (config_of(sms="console"), "policies.messages.sms"),
        (config_of(sms="console", order=("email",)), "policies.messages.sms"),
        (config_of(email="console"), "policies.messages.email"),
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
