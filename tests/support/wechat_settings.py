"""The environment of a hospital that takes WeChat Pay: keys as files."""

from pathlib import Path

from tests.support.wechat_keys import (
    APIV3_KEY,
    APPID,
    MCHID,
    PUBLIC_KEY_ID,
    SERIAL,
    private_pem,
    public_pem,
    rsa_key,
)


def wechat_environ(folder: Path, **changes: str) -> dict[str, str]:
    """An empty change unsets."""
    private, public = folder / "apiclient_key.pem", folder / "pub_key.pem"
    private.write_text(private_pem(rsa_key("merchant")))
    public.write_text(public_pem(rsa_key("platform")))
    return {
        "HOSPITAL_DATABASE_URL": "postgresql:///hospital",
        "HOSPITAL_KEYRING": "keyring.json",
        "HOSPITAL_PUBLIC_URL": "https://hospital.example",
        "WECHAT_PAY_MCHID": MCHID,
        "WECHAT_PAY_APPID": APPID,
        "WECHAT_PAY_SERIAL_NO": SERIAL,
        "WECHAT_PAY_PRIVATE_KEY_PATH": str(private),
        "WECHAT_PAY_APIV3_KEY": APIV3_KEY,
        "WECHAT_PAY_PUBLIC_KEY_ID": PUBLIC_KEY_ID,
        "WECHAT_PAY_PUBLIC_KEY_PATH": str(public),
    } | changes
