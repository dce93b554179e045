"""Which gateways are opened, and what is said when one is not set up."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from activities.gateways.twilio_sms import TwilioSms
from activities.gateways.twilio_voice import TwilioVoice
from activities.gateways.voice import ConsoleVoice
from domain.hospital import HospitalConfig, MessagePolicy, PaymentPolicy, Policies
from runtime.gateways import open_payments, open_sms, open_storage, open_voice
from runtime.settings import SettingsError, read_settings
from tests.support.catalogue import a_config
from tests.support.wechat_keys import APIV3_KEY, DAY, certificate, rsa_key
from tests.support.wechat_settings import wechat_environ

pytestmark = pytest.mark.anyio

SANDBOX = {
    "HOSPITAL_SANDBOX_GATEWAY_URL": "http://127.0.0.1:9",
    "HOSPITAL_SANDBOX_GATEWAY_SECRET": "a-secret-for-tests",
}
NO_PUBLIC_KEY = {"WECHAT_PAY_PUBLIC_KEY_ID": "", "WECHAT_PAY_PUBLIC_KEY_PATH": ""}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def offering(*channels: str) -> HospitalConfig:
    return replace(a_config(), policies=Policies(payment=PaymentPolicy(channels=channels)))


async def test_what_is_set_up_is_opened_whether_offered_or_not(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    """After a change of channels, money of the old one is still asked for and goes back."""
    settings = read_settings(wechat_environ(tmp_path, **SANDBOX))
    gateways = open_payments(settings, offering("wechat_native"), stack)
    assert set(gateways) == {"sandbox", "wechat_native", "wechat_jsapi"}
    assert {name: gateway.channel for name, gateway in gateways.items()} == {
        name: name for name in gateways
    }
    assert [name for name, gateway in gateways.items() if gateway.needs_payer] == ["wechat_jsapi"]


@pytest.mark.parametrize(
    ("channel", "variable"),
    [("sandbox", "HOSPITAL_SANDBOX_GATEWAY_URL"), ("wechat_jsapi", "WECHAT_PAY_MCHID")],
)
async def test_an_offered_channel_that_is_not_set_up(
    tmp_path: Path, stack: AsyncExitStack, channel: str, variable: str
) -> None:
    settings = read_settings(wechat_environ(tmp_path, WECHAT_PAY_MCHID=""))
    with pytest.raises(SettingsError, match=f"{channel}, but {variable}.* is not set"):
        open_payments(settings, offering(channel), stack)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WECHAT_PAY_MCHID", "mine"),
        ("WECHAT_PAY_APPID", ""),
        ("WECHAT_PAY_APPID", "hospital"),
        ("WECHAT_PAY_SERIAL_NO", ""),
        ("WECHAT_PAY_SERIAL_NO", "not hex"),
        ("WECHAT_PAY_PRIVATE_KEY_PATH", ""),
        ("WECHAT_PAY_APIV3_KEY", ""),
        ("WECHAT_PAY_APIV3_KEY", "short"),
        ("WECHAT_PAY_APIV3_KEY", "钥" * 32),
        ("WECHAT_PAY_PUBLIC_KEY_ID", ""),
        ("WECHAT_PAY_PUBLIC_KEY_PATH", ""),
        ("WECHAT_PAY_BASE_URL", "http://api.mch.weixin.qq.com"),
        ("WECHAT_PAY_BASE_URL", "ftp://127.0.0.1"),
    ],
)
def test_a_wrong_setting_is_named_and_not_shown(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as failure:
        read_settings(wechat_environ(tmp_path, **{name: value}))
    assert not value or name == "WECHAT_PAY_BASE_URL" or value not in str(failure.value)


def test_something_must_verify_wechats_signature(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="WECHAT_PAY_CERTIFICATES_PATH"):
        read_settings(wechat_environ(tmp_path, **NO_PUBLIC_KEY))


@pytest.mark.parametrize("name", ["WECHAT_PAY_PRIVATE_KEY_PATH", "WECHAT_PAY_PUBLIC_KEY_PATH"])
async def test_a_key_that_cannot_be_read_is_named(
    tmp_path: Path, stack: AsyncExitStack, name: str
) -> None:
    locked = rsa_key("merchant").private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    for content in (None, b"", b"\xff", b"no key", locked):
        path = tmp_path / "key.pem"
        if content is not None:
            path.write_bytes(content)
        settings = read_settings(wechat_environ(tmp_path, **{name: str(path)}))
        with pytest.raises(SettingsError, match=name):
            open_payments(settings, offering("wechat_native"), stack)


async def test_a_folder_of_certificates_has_one_that_is_valid_today(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    folder = tmp_path / "certificates"
    settings = read_settings(
        wechat_environ(tmp_path, **NO_PUBLIC_KEY, WECHAT_PAY_CERTIFICATES_PATH=str(folder))
    )

    def put(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)

    async def refused(why: str) -> None:
        with pytest.raises(SettingsError, match=f"WECHAT_PAY_CERTIFICATES_PATH.*{why}"):
            open_payments(settings, offering("wechat_native"), stack)

    await refused("valid today")
    folder.mkdir()
    await refused("valid today")
    now = datetime.now(UTC)
    ended = certificate(rsa_key("platform"), begins=now - 9 * DAY, ends=now - DAY)
    put("old.pem", ended.public_bytes(Encoding.PEM))
    await refused("valid today")
    put("new.pem", certificate(rsa_key("platform")).public_bytes(Encoding.PEM))
    assert "wechat_native" in open_payments(settings, offering("wechat_native"), stack)
    put("other.pem", b"no certificate")
    await refused("other.pem is no certificate")


async def test_wechat_calls_back_by_https_only(tmp_path: Path, stack: AsyncExitStack) -> None:
    environ = wechat_environ(tmp_path, HOSPITAL_PUBLIC_URL="http://hospital.example")
    with pytest.raises(SettingsError, match="HOSPITAL_PUBLIC_URL"):
        open_payments(read_settings(environ), offering("wechat_native"), stack)
    stand_in = environ | {"WECHAT_PAY_BASE_URL": "http://127.0.0.1:9"}
    assert open_payments(read_settings(stand_in), offering("wechat_native"), stack)


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    assert APIV3_KEY not in repr(read_settings(wechat_environ(tmp_path)))


# Twilio: SMS and calls have senders of their own

TWILIO = {
    "HOSPITAL_DATABASE_URL": "postgresql://",
    "HOSPITAL_KEYRING": "keyring.json",
    "HOSPITAL_PUBLIC_URL": "https://hospital.example.org",
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_AUTH_TOKEN": "a-token-for-tests",
    "TWILIO_FROM_NUMBER": "+15005550006",
    "TWILIO_VOICE_NUMBER": "+861066668888",
}
BY_TWILIO = replace(
    a_config(), policies=Policies(messages=MessagePolicy(sms="twilio", voice="twilio"))
)


async def test_calls_and_sms_are_opened_as_chosen(stack: AsyncExitStack) -> None:
    settings = read_settings(TWILIO)
    assert isinstance(open_voice(settings, BY_TWILIO, stack), TwilioVoice)
    assert isinstance(open_sms(settings, BY_TWILIO, stack), TwilioSms)
    assert isinstance(open_voice(settings, a_config(), stack), ConsoleVoice)
    assert "a-token-for-tests" not in repr(settings)


async def test_each_needs_its_own_number_only(stack: AsyncExitStack) -> None:
    calls_only = read_settings({**TWILIO, "TWILIO_FROM_NUMBER": ""})
    assert isinstance(open_voice(calls_only, BY_TWILIO, stack), TwilioVoice)
    with pytest.raises(SettingsError, match="TWILIO_FROM_NUMBER"):
        open_sms(calls_only, BY_TWILIO, stack)
    sms_only = read_settings({**TWILIO, "TWILIO_VOICE_NUMBER": ""})
    assert isinstance(open_sms(sms_only, BY_TWILIO, stack), TwilioSms)
    with pytest.raises(SettingsError, match="TWILIO_VOICE_NUMBER"):
        open_voice(sms_only, BY_TWILIO, stack)


async def test_calls_that_are_chosen_and_not_set_up(stack: AsyncExitStack) -> None:
    with pytest.raises(SettingsError, match=r"messages\.voice is twilio, but TWILIO_ACCOUNT_SID"):
        open_voice(read_settings({**TWILIO, "TWILIO_ACCOUNT_SID": ""}), BY_TWILIO, stack)


async def test_twilio_asks_for_a_patients_number_by_https_only(stack: AsyncExitStack) -> None:
    plain = {**TWILIO, "HOSPITAL_PUBLIC_URL": "http://hospital.example.org"}
    with pytest.raises(SettingsError, match="HOSPITAL_PUBLIC_URL"):
        open_voice(read_settings(plain), BY_TWILIO, stack)
    stand_in = read_settings({**plain, "TWILIO_BASE_URL": "http://127.0.0.1:9"})
    assert open_voice(stand_in, BY_TWILIO, stack)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"TWILIO_AUTH_TOKEN": ""}, "TWILIO_AUTH_TOKEN"),
        ({"TWILIO_VOICE_NUMBER": "010-66668888"}, "TWILIO_VOICE_NUMBER"),
        ({"TWILIO_VOICE_NUMBER": "", "TWILIO_FROM_NUMBER": ""}, "TWILIO_VOICE_NUMBER"),
    ],
)
def test_a_wrong_setting_of_twilio_is_named(changes: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings(TWILIO | changes)


# Where files lie

NEEDED = {"HOSPITAL_DATABASE_URL": "postgresql://", "HOSPITAL_KEYRING": "keyring.json"}
BUCKET = {
    "HOSPITAL_S3_BUCKET": "files",
    "HOSPITAL_S3_ENDPOINT": "http://127.0.0.1:1",
    "HOSPITAL_S3_ACCESS_KEY": "a-key",
    "HOSPITAL_S3_SECRET_KEY": "its-secret",
}


async def test_files_lie_where_the_settings_say(tmp_path: Path) -> None:
    from activities.gateways.local_storage import LocalStorage
    from activities.gateways.s3_storage import S3Storage

    async with AsyncExitStack() as stack:
        directory = tmp_path / "made" / "files"
        settings = read_settings({**NEEDED, "HOSPITAL_FILES_DIR": str(directory)})
        assert open_storage(settings, stack) == LocalStorage(directory)
        assert directory.stat().st_mode & 0o077 == 0
        settings = read_settings({**NEEDED, **BUCKET})
        assert isinstance(open_storage(settings, stack), S3Storage)
        assert "its-secret" not in repr(settings)
        with pytest.raises(SettingsError, match="HOSPITAL_FILES_DIR"):
            open_storage(read_settings(NEEDED), stack)
        (tmp_path / "file").write_text("")
        settings = read_settings({**NEEDED, "HOSPITAL_FILES_DIR": str(tmp_path / "file" / "x")})
        with pytest.raises(SettingsError, match="HOSPITAL_FILES_DIR cannot be used"):
            open_storage(settings, stack)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"HOSPITAL_FILES_DIR": "/files"}, "not both"),
        ({"HOSPITAL_S3_SECRET_KEY": ""}, "HOSPITAL_S3_SECRET_KEY"),
        ({"HOSPITAL_S3_ENDPOINT": "ftp://x"}, "HOSPITAL_S3_ENDPOINT"),
    ],
)
def test_a_bucket_that_is_set_up_by_halves_is_refused(wrong: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({**NEEDED, **BUCKET, **wrong})
