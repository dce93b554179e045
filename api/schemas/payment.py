"""Payments on the wire."""

import datetime as dt
from typing import Annotated

from pydantic import ConfigDict, Field

from api.schemas.base import NO_NUL, Money, Schema
from domain.payment import PaymentStatus, RefundCause, RefundStatus

Number = Annotated[str, Field(min_length=1, max_length=64), NO_NUL]


class Payer(Schema):
    """Who pays, in the words of the channel that asks."""

    openid: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_-]{1,128}$",
            description="WeChat's id of the person in this app (`wechat_jsapi`). Not kept.",
            repr=False,
        ),
    ]


class NewPayment(Schema):
    """The amount is the order's; nobody sends one."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"orderNo": "A261122ABCDEFGHJKMN", "channel": "sandbox"}]}
    )

    order_no: Number
    channel: Number
    payer: Payer | None = None


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
    pay_params: Annotated[
        dict[str, str] | None,
        Field(
            description="Signed parameters for `wx.requestPayment` (`wechat_jsapi`). Only in the "
            "answer to a POST that names the payer."
        ),
    ] = None
    expires_at: dt.datetime
    refunds: list[Refund]
