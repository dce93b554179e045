"""Payments on the wire."""

import datetime as dt
from typing import Annotated

from pydantic import ConfigDict, Field

from api.schemas.base import Money, Schema
from domain.payment import PaymentStatus, RefundCause, RefundStatus

Number = Annotated[str, Field(min_length=1, max_length=64)]


class NewPayment(Schema):
    """The amount is the order's; nobody sends one."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"orderNo": "A261122ABCDEFGHJKMN", "channel": "sandbox"}]}
    )

    order_no: Number
    channel: Number


class Refund(Schema):
    refund_no: str
    amount: Money
    cause: RefundCause
    status: RefundStatus


class Payment(Schema):
    payment_no: str
    order_no: str
    amount: Money
    channel: str
    status: PaymentStatus
    pay_url: str | None
    expires_at: dt.datetime
    refunds: list[Refund]
