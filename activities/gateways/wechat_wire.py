"""How WeChat Pay (API v3) is talked to: `wechatpayv3` signs, sends and verifies; here is what it
leaves open, and the shapes of the answers.

What the library does not do, and this page does: it never looks at a callback's timestamp; it
holds a certificate for good that was valid when loaded; it raises bare exceptions with the
answer's text in them; it knows one address.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import httpx
from cryptography.x509 import Certificate
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from wechatpayv3.async_ import AsyncWeChatPay, WeChatPayType

from activities.gateways.payment import (
    BadCallback,
    BadSignature,
    GatewayRefused,
    GatewayUnavailable,
)

BASE_URL = "https://api.mch.weixin.qq.com"
MAX_AGE_SECONDS = 300
# Refusals that time mends: the same question with the same number may be asked again.
PASSING = frozenset(
    {"SYSTEM_ERROR", "FREQUENCY_LIMITED", "RATELIMIT_EXCEEDED", "BIZERR_NEED_RETRY", "BANK_ERROR",
     "NOT_ENOUGH", "STATEMENT_CREATING"}
)  # fmt: skip

Clock = Callable[[], datetime]
Model = TypeVar("Model", bound=BaseModel)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class PublicKey:
    """WeChat Pay's public key (微信支付公钥): its id is `PUB_KEY_ID_…`."""

    id: str
    pem: str = field(repr=False)


@dataclass(frozen=True)
class WechatMerchant:
    """Who we are to WeChat Pay, and whose signature we believe: the public key, the platform
    certificates of the older way, or both while a merchant moves from one to the other."""

    mchid: str
    appid: str
    serial_no: str  # of our own certificate
    private_key: str = field(repr=False)  # PEM, PKCS 8
    apiv3_key: str = field(repr=False)
    public_key: PublicKey | None = None
    certificates: tuple[Certificate, ...] = ()
    base_url: str = BASE_URL


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


Fen = Annotated[int, Field(strict=True, gt=0)]
Instant = Annotated[AwareDatetime | None, BeforeValidator(lambda at: at or None)]


class NativeAnswer(_Answer):
    code_url: str


class JsapiAnswer(_Answer):
    prepay_id: str


class Total(_Answer):
    total: Fen
    currency: str = "CNY"


class Transaction(_Answer):
    """A payment, in the answer to a query and in a callback."""

    mchid: str
    out_trade_no: str
    trade_state: str
    transaction_id: str | None = None
    success_time: Instant = None
    amount: Total | None = None


class RefundAmount(_Answer):
    refund: Fen
    total: Fen


class Refund(_Answer):
    """The answer to a refund asked for, and to a query."""

    refund_id: str
    out_refund_no: str
    out_trade_no: str
    status: str
    success_time: Instant = None
    amount: RefundAmount


class RefundNews(_Answer):
    """What a callback tells of a refund."""

    mchid: str
    refund_id: str
    out_refund_no: str
    out_trade_no: str
    transaction_id: str
    refund_status: str
    success_time: Instant = None
    amount: RefundAmount


class BillAnswer(_Answer):
    download_url: str
    hash_type: Literal["SHA1"]
    hash_value: str


class _Envelope(_Answer):
    id: Annotated[str, Field(min_length=1, max_length=64)]
    create_time: AwareDatetime
    event_type: str
    resource: dict[str, Any]


class _Refusal(_Answer):
    code: Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,64}$")]
    message: str = ""
    detail: Any = None


class Nothing(_Answer):
    """An answer without a body."""


class WechatRefused(GatewayRefused):
    """With WeChat's own words, which are for us to read and never for a log."""

    def __init__(self, refusal: _Refusal) -> None:
        super().__init__(refusal.code.lower())
        self.wechat_code = refusal.code
        self.words = f"{refusal.message} {refusal.detail or ''}"


@dataclass(frozen=True)
class Callback:
    """A verified and opened callback."""

    event_id: str
    event_type: str
    created_at: datetime
    resource: dict[str, Any]


class WechatPay:
    """One merchant's connection, shared by its channels; whoever opens `http` closes it."""

    def __init__(
        self, merchant: WechatMerchant, http: httpx.AsyncClient, clock: Clock = utc_now
    ) -> None:
        """Raises ValueError when a key cannot be read."""
        self.merchant, self._clock = merchant, clock
        key = merchant.public_key
        if key is None and not merchant.certificates:
            raise ValueError("nothing to verify WeChat Pay's signature with")
        try:
            self.sdk = AsyncWeChatPay(
                wechatpay_type=WeChatPayType.NATIVE,
                mchid=merchant.mchid,
                private_key=merchant.private_key,
                cert_serial_no=merchant.serial_no,
                appid=merchant.appid,
                apiv3_key=merchant.apiv3_key,
                public_key=key and key.pem,
                public_key_id=key and key.id,
            )
        except Exception:
            raise ValueError("a key of WeChat Pay cannot be read") from None
        # The library has no parameters for these, and asks the network when it is opened itself.
        core = self.sdk._core
        core._gate_way = merchant.base_url.rstrip("/")
        core._client = http
        core._certificates = list(merchant.certificates)
        self._core = core

    async def ask(self, answer: type[Model], call: Awaitable[tuple[int, str | bytes]]) -> Model:
        """The answer to one of the library's calls, read."""
        try:
            return answer.model_validate_json(await self._answered(call) or b"{}")
        except ValidationError:
            raise GatewayUnavailable("bad_answer") from None

    async def download(self, url: str) -> bytes:
        """A bill's file. Its signature is its hash, which the caller compares."""
        parts = urlsplit(url)
        if not parts.path.startswith("/v3/"):
            raise GatewayUnavailable("bad_answer")
        # Only path and query: whatever host it names, we ask our own.
        body = await self._answered(self.sdk.download_bill(f"{parts.path}?{parts.query}"))
        return body.encode() if isinstance(body, str) else body

    async def _answered(self, call: Awaitable[tuple[int, str | bytes]]) -> str | bytes:
        try:
            status, body = await call
        except httpx.TimeoutException:
            raise GatewayUnavailable("timeout") from None
        except httpx.RequestError:
            raise GatewayUnavailable("connection") from None
        except Exception:
            # The library's word for an answer whose signature does not verify, or that lacks one.
            raise GatewayUnavailable("bad_answer") from None
        finally:
            # Asked about a number it does not know, it forgets its certificates before it looks.
            self._core._certificates = self._core._certificates or list(self.merchant.certificates)
        if httpx.codes.is_success(status):
            return body
        raise _refusal(status, body)

    def open_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        """Verify, decrypt. Raises BadSignature or BadCallback."""
        given = {name.lower(): value for name, value in headers.items()}
        self._believe(given)
        try:
            genuine = self._core._verify_signature(given, body.decode())
        except Exception:
            genuine = False
        if not genuine:
            raise BadSignature("forged")
        try:
            # It verifies once more: it has one answer for what is forged and what does not open.
            opened = self.sdk.callback(given, body)
        except Exception:
            opened = None
        if opened is None:
            raise BadCallback("not_opened")  # with another APIv3 key than ours, most likely
        try:
            envelope = _Envelope.model_validate(opened)
        except ValidationError:
            raise BadCallback("bad_body") from None
        return Callback(envelope.id, envelope.event_type, envelope.create_time, envelope.resource)

    def _believe(self, given: Mapping[str, str]) -> None:
        """Whether the callback names a key that is good now, and is fresh."""
        timestamp = given.get("wechatpay-timestamp", "")
        serial = given.get("wechatpay-serial", "")
        signature = given.get("wechatpay-signature", "")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            raise BadSignature("not_signed")
        if not (serial and signature):
            raise BadSignature("not_signed")
        if signature.startswith("WECHATPAY/SIGNTEST/"):
            raise BadSignature("sign_test")  # WeChat's own probe: who takes it, does not verify
        now = self._clock()
        if abs(now.timestamp() - int(timestamp)) > MAX_AGE_SECONDS:
            raise BadSignature("stale")
        if self.merchant.public_key and serial == self.merchant.public_key.id:
            return
        certificate = self._certificate(serial)
        if certificate is None:
            raise BadSignature("unknown_serial")
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise BadSignature("expired_certificate")

    def _certificate(self, serial: str) -> Certificate | None:
        try:
            number = int(serial, 16)
        except ValueError:
            return None
        # The library's own list: it learns of new certificates from answers.
        known: list[Certificate] = self._core._certificates
        return next((found for found in known if found.serial_number == number), None)


def _refusal(status: int, body: str | bytes) -> GatewayRefused | GatewayUnavailable:
    if status >= 500 or status == 429:
        return GatewayUnavailable(f"status_{status}")
    try:
        refusal = _Refusal.model_validate_json(body)
    except ValidationError:
        return GatewayUnavailable("bad_answer")
    if refusal.code in PASSING:
        return GatewayUnavailable(refusal.code.lower())
    return WechatRefused(refusal)
