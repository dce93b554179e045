"""What the sandbox gateway and its merchant say to each other: the signature and the bodies.

Both sides import this page, so neither can drift. Money is integer fen, instants are ISO 8601
with an offset. Each message is signed as

    HMAC-SHA256(secret, METHOD \\n path?query \\n timestamp \\n nonce \\n body)

with the timestamp in whole seconds of Unix time, in hex.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from activities.gateways.payment import (
    BadSignature,
    BillKind,
    EventKind,
    PaymentState,
    RefundState,
)

TIMESTAMP = "x-sandbox-timestamp"
NONCE = "x-sandbox-nonce"
SIGNATURE = "x-sandbox-signature"
MAX_AGE_SECONDS = 300
MIN_SECRET = 16

_NONCE = re.compile(r"[0-9a-f]{32}")
_SECONDS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class Signer:
    """Signs and verifies under one shared secret, which is at least 16 characters long."""

    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        # An empty key makes every forgery valid.
        if len(self.secret) < MIN_SECRET:
            raise ValueError(f"the sandbox gateway's secret needs {MIN_SECRET} characters or more")

    def headers(self, method: str, path: str, body: bytes, now: datetime) -> dict[str, str]:
        """Headers for a new message; `path` holds the query string."""
        timestamp, nonce = str(int(now.timestamp())), secrets.token_hex(16)
        return {
            TIMESTAMP: timestamp,
            NONCE: nonce,
            SIGNATURE: self._sign(method, path, timestamp, nonce, body),
        }

    def verify(
        self, headers: Mapping[str, str], method: str, path: str, body: bytes, now: datetime
    ) -> str:
        """The nonce of a message that is ours and fresh; otherwise BadSignature."""
        given = {name.lower(): value for name, value in headers.items()}
        timestamp, nonce = given.get(TIMESTAMP, ""), given.get(NONCE, "")
        if not (_SECONDS.fullmatch(timestamp) and _NONCE.fullmatch(nonce)):
            raise BadSignature("not_signed")
        expected = self._sign(method, path, timestamp, nonce, body)
        # As bytes: compare_digest refuses text that is not ASCII with a TypeError.
        if not hmac.compare_digest(expected.encode(), given.get(SIGNATURE, "").encode()):
            raise BadSignature("forged")
        if abs(now.timestamp() - int(timestamp)) > MAX_AGE_SECONDS:
            raise BadSignature("stale")
        return nonce

    def _sign(self, method: str, path: str, timestamp: str, nonce: str, body: bytes) -> str:
        head = "\n".join((method, path, timestamp, nonce, ""))
        return hmac.new(self.secret.encode(), head.encode() + body, hashlib.sha256).hexdigest()


class RefundMode(StrEnum):
    """What becomes of the refunds to come (a test control)."""

    SUCCEED = "succeed"
    PENDING = "pending"  # until somebody settles it
    FAIL = "fail"
    UNAVAILABLE = "unavailable"  # asking for a refund is answered 503, nothing is noted


PaymentNo = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
RefundNo = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
# Strict, or "12" and 12.0 would pass for money. The limit is 100 million yuan.
Fen = Annotated[int, Field(strict=True, gt=0, le=10_000_000_000)]


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class PrepayQuestion(_Question):
    payment_no: PaymentNo
    amount: Fen
    currency: Literal["CNY"]
    description: Code
    expires_at: AwareDatetime
    notify_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=500)]


class RefundQuestion(_Question):
    refund_no: RefundNo
    payment_no: PaymentNo
    amount: Fen
    total: Fen
    reason: Code


class PrepayAnswer(_Answer):
    pay_url: str
    gateway_no: str


class PaymentAnswer(_Answer):
    payment_no: str
    state: PaymentState
    amount: Fen | None = None
    paid_at: AwareDatetime | None = None
    transaction_id: str | None = None


class RefundAnswer(_Answer):
    refund_no: str
    state: RefundState
    payment_no: str | None = None
    amount: Fen | None = None
    finished_at: AwareDatetime | None = None
    gateway_refund_no: str | None = None


class EventBody(_Answer):
    event_id: str
    kind: EventKind
    payment_no: str
    refund_no: str | None = None
    amount: Fen
    at: AwareDatetime
    transaction_id: str


class BillLineAnswer(_Answer):
    kind: BillKind
    payment_no: str
    refund_no: str | None = None
    amount: Fen
    at: AwareDatetime
    transaction_id: str


class BillAnswer(_Answer):
    lines: list[BillLineAnswer]


class RawBillAnswer(_Answer):
    """The same, to be read line by line."""

    lines: list[Any]


class DoneAnswer(_Answer):
    """A control was set; there is nothing to tell."""


class RefusalAnswer(_Answer):
    code: Code
