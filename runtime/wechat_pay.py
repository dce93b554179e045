"""Opens WeChat Pay's channels: reads the keys, and says which setting is wrong."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from activities.gateways.payment import PaymentGateway
from activities.gateways.wechat_payment import Trade, WechatPaymentGateway
from activities.gateways.wechat_wire import BASE_URL, PublicKey, WechatMerchant, WechatPay
from runtime.settings import SettingsError, WechatPaySettings


def open_wechat_pay(
    settings: WechatPaySettings, notify_url: str, stack: AsyncExitStack
) -> dict[str, PaymentGateway]:
    """Both channels by name; WeChat posts to `notify_url`/<channel>. Raises SettingsError."""
    if settings.base_url is None and not notify_url.startswith("https://"):
        raise SettingsError(
            "HOSPITAL_PUBLIC_URL is not https; WeChat Pay calls back to nothing else"
        )
    merchant = read_merchant(settings)
    http = wechat_http()
    stack.push_async_callback(http.aclose)
    wechat = WechatPay(merchant, http)
    gateways = (
        WechatPaymentGateway(wechat, trade, f"{notify_url}/wechat_{trade.lower()}")
        for trade in Trade
    )
    return {gateway.channel: gateway for gateway in gateways}


def wechat_http() -> httpx.AsyncClient:
    """Proxies of the environment are used: a hospital's network may have no other way out."""
    return httpx.AsyncClient(timeout=httpx.Timeout(10, connect=3))


def read_merchant(settings: WechatPaySettings) -> WechatMerchant:
    """Every file read and looked at. Raises SettingsError."""
    private_key = _read("WECHAT_PAY_PRIVATE_KEY_PATH", settings.private_key_path)
    _check_private_key(private_key)
    public_key = None
    if settings.public_key_id and settings.public_key_path:
        pem = _read("WECHAT_PAY_PUBLIC_KEY_PATH", settings.public_key_path)
        _check_public_key(pem)
        public_key = PublicKey(settings.public_key_id, pem)
    return WechatMerchant(
        mchid=settings.mchid,
        appid=settings.appid,
        serial_no=settings.serial_no,
        private_key=private_key,
        apiv3_key=settings.apiv3_key,
        public_key=public_key,
        certificates=_certificates(settings.certificates_path),
        base_url=settings.base_url or BASE_URL,
    )


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{name}: cannot read {path}") from None


def _check_private_key(pem: str) -> None:
    # The library puts this header on whatever lacks it, so another form would fail later.
    try:
        right = "-----BEGIN PRIVATE KEY-----" in pem
        right = right and isinstance(load_pem_private_key(pem.encode(), None), RSAPrivateKey)
    except (ValueError, TypeError):
        right = False
    if not right:
        raise SettingsError(
            "WECHAT_PAY_PRIVATE_KEY_PATH: expected an RSA key without a password "
            "(BEGIN PRIVATE KEY), as apiclient_key.pem is"
        )


def _check_public_key(pem: str) -> None:
    try:
        right = isinstance(load_pem_public_key(pem.encode()), RSAPublicKey)
    except ValueError:
        right = False
    if not right:
        raise SettingsError("WECHAT_PAY_PUBLIC_KEY_PATH: expected an RSA key (BEGIN PUBLIC KEY)")


def _certificates(folder: Path | None) -> tuple[x509.Certificate, ...]:
    """The folder's `*.pem`. At least one must be good today, or the folder was forgotten."""
    if folder is None:
        return ()
    name = "WECHAT_PAY_CERTIFICATES_PATH"
    found = []
    for path in sorted(folder.glob("*.pem")):
        try:
            found.append(x509.load_pem_x509_certificate(_read(name, path).encode()))
        except ValueError:
            raise SettingsError(f"{name}: {path} is no certificate") from None
    now = datetime.now(UTC)
    if not any(c.not_valid_before_utc <= now <= c.not_valid_after_utc for c in found):
        raise SettingsError(f"{name}: {folder} has no platform certificate (*.pem) valid today")
    return tuple(found)
