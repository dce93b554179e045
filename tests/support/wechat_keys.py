"""WeChat Pay's side of the keys, and a merchant's, made when the tests begin."""

import base64
import json
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from activities.gateways.wechat_wire import PublicKey, WechatMerchant

MCHID, APPID, SERIAL = (
    "1900000109",
    "wxd678efh567hg6787",
    "444F4864EA9B34415A1B2C3D4E5F60718293A4B5",
)
APIV3_KEY = "a-key-of-32-letters-for-tests-00"
PUBLIC_KEY_ID = "PUB_KEY_ID_0119000001092026030200000001"
DAY = timedelta(days=1)


@cache
def rsa_key(whose: str) -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def private_pem(key: RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def certificate(
    key: RSAPrivateKey, *, begins: datetime | None = None, ends: datetime | None = None
) -> x509.Certificate:
    """A platform certificate; valid from yesterday to a year from now unless told."""
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com sign")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or now - DAY)
        .not_valid_after(ends or now + 365 * DAY)
        .sign(key, SHA256())
    )


def serial_of(found: x509.Certificate) -> str:
    return f"{found.serial_number:X}"


def sealed(plain: str, associated: str) -> dict[str, str]:
    """AES-GCM under the APIv3 key, as in callbacks and in `/v3/certificates`."""
    nonce = secrets.token_hex(6)
    cipher = AESGCM(APIV3_KEY.encode()).encrypt(nonce.encode(), plain.encode(), associated.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "nonce": nonce,
        "associated_data": associated,
        "ciphertext": base64.b64encode(cipher).decode(),
    }


@dataclass(frozen=True)
class Platform:
    """Who signs as WeChat Pay: with which key, under which number."""

    key: RSAPrivateKey
    serial: str

    def headers(self, body: bytes, at: datetime | None = None) -> dict[str, str]:
        stamp = str(int((at or datetime.now(UTC)).timestamp()))
        nonce = secrets.token_hex(16)
        message = f"{stamp}\n{nonce}\n".encode() + body + b"\n"
        return {
            "wechatpay-timestamp": stamp,
            "wechatpay-nonce": nonce,
            "wechatpay-serial": self.serial,
            "wechatpay-signature": base64.b64encode(
                self.key.sign(message, PKCS1v15(), SHA256())
            ).decode(),
            "wechatpay-signature-type": "WECHATPAY2-SHA256-RSA2048",
        }


def platform() -> Platform:
    return Platform(rsa_key("platform"), PUBLIC_KEY_ID)


def forger() -> Platform:
    """Knows the number, and has a key of its own."""
    return Platform(rsa_key("forger"), PUBLIC_KEY_ID)


def a_merchant(base_url: str = "http://127.0.0.1:9", **changes: Any) -> WechatMerchant:
    return replace(
        WechatMerchant(
            mchid=MCHID,
            appid=APPID,
            serial_no=SERIAL,
            private_key=private_pem(rsa_key("merchant")),
            apiv3_key=APIV3_KEY,
            public_key=PublicKey(PUBLIC_KEY_ID, public_pem(rsa_key("platform"))),
            base_url=base_url,
        ),
        **changes,
    )


def an_event(
    event_type: str,
    resource: dict[str, Any] | str,
    *,
    event_id: str = "EV-2018022511223320873",
    created: str = "2026-03-02T09:30:00+08:00",
) -> bytes:
    """A callback's body."""
    plain = resource if isinstance(resource, str) else json.dumps(resource)
    kind = "refund" if event_type.startswith("REFUND") else "transaction"
    body = {
        "id": event_id,
        "create_time": created,
        "event_type": event_type,
        "resource_type": "encrypt-resource",
        "summary": "支付成功",
        "resource": sealed(plain, kind) | {"original_type": kind},
    }
    return json.dumps(body, ensure_ascii=False).encode()
