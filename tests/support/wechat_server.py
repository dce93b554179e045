"""WeChat Pay v3 on loopback, as far as the real client can tell.

    async with wechat_server() as wechat, callback_inbox() as inbox:
        payments = wechat.payments(Trade.NATIVE, inbox.url)   # the port
        await wechat.pay("P100001")                           # what the payer does

It checks our signature, signs what it answers, and calls back sealed and signed. The hands of the
payer have the names and the meaning of `SandboxControls`, so that one contract tests both.
"""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import json
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from activities.gateways.payment import GatewayPayment, PaymentState, RefundState, to_yuan
from activities.gateways.sandbox_wire import RefundMode
from activities.gateways.wechat_bill import BEIJING
from activities.gateways.wechat_payment import Trade, WechatPaymentGateway
from activities.gateways.wechat_wire import Clock, WechatPay, utc_now
from tests.support.gateway import serve
from tests.support.wechat_keys import (
    APPID,
    MCHID,
    SERIAL,
    Platform,
    a_merchant,
    an_event,
    platform,
    rsa_key,
)

AUTHORIZATION = re.compile(r'(\w+)="([^"]*)"')
DIFFERS = "订单金额或退款金额与之前请求不一致，请核实后再试"


@dataclass(frozen=True)
class Refusal(Exception):
    """As WeChat words it."""

    status: int
    code: str
    message: str = ""


@dataclass
class Order:
    asked: dict[str, Any]
    trade: Trade
    prepay_id: str
    state: str = "NOTPAY"
    transaction_id: str | None = None
    success_time: str | None = None

    @property
    def total(self) -> int:
        return int(self.asked["amount"]["total"])

    def told(self) -> dict[str, Any]:
        late = datetime.fromisoformat(self.asked["time_expire"]) <= datetime.now(UTC)
        state = "CLOSED" if self.state == "NOTPAY" and late else self.state
        told = {
            "appid": APPID,
            "mchid": MCHID,
            "out_trade_no": self.asked["out_trade_no"],
            "trade_state": state,
            "trade_state_desc": "订单状态",
            "amount": {"total": self.total, "payer_total": self.total, "currency": "CNY"},
            "payer": self.asked.get("payer", {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}),
        }
        if self.transaction_id:
            told |= {
                "transaction_id": self.transaction_id,
                "trade_type": self.trade,
                "success_time": self.success_time,
            }
        return told


@dataclass
class Hands:
    """What becomes of the refunds to come."""

    mode: RefundMode = RefundMode.SUCCEED
    times: int = 1
    delay: timedelta = timedelta(0)
    callback: bool = True


@dataclass
class WechatServer:
    http: httpx.AsyncClient
    url: str = ""
    signs: Platform = field(default_factory=platform)
    certificates: list[dict[str, Any]] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    returned: dict[str, dict[str, Any]] = field(default_factory=dict)  # refunds, as they are told
    notify_urls: dict[str, str] = field(default_factory=dict)  # of refunds
    next_answers: deque[Refusal | Response] = field(default_factory=deque)
    bills: dict[str, str | Refusal] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    hands: Hands = field(default_factory=Hands)
    away_until: datetime | None = None
    nonces: set[str] = field(default_factory=set)
    running: set[asyncio.Task[None]] = field(default_factory=set)

    def payments(
        self, trade: Trade, notify_url: str, clock: Clock = utc_now, **changes: Any
    ) -> WechatPaymentGateway:
        wechat = WechatPay(a_merchant(self.url, **changes), self.http, clock)
        return WechatPaymentGateway(wechat, trade, notify_url, clock)

    # The payer's and the bank's hands

    async def pay(
        self,
        payment_no: str,
        *,
        times: int = 1,
        delay: timedelta = timedelta(0),
        fail: bool = False,
        callback: bool = True,
    ) -> GatewayPayment:
        order = self.orders[payment_no]
        if not fail and order.transaction_id is None:
            order.state, order.success_time = "SUCCESS", now()
            order.transaction_id = f"42000{secrets.randbelow(10**23):023d}"
        if not fail and callback:
            event = an_event(
                "TRANSACTION.SUCCESS",
                order.told(),
                event_id=f"E-{order.transaction_id}",
                created=str(order.success_time),
            )
            self.tell(order.asked["notify_url"], event, times, delay)
        paid = order.transaction_id is not None
        return GatewayPayment(
            payment_no,
            PaymentState.PAID if paid else PaymentState.PENDING,
            to_yuan(order.total),
            datetime.fromisoformat(order.success_time) if order.success_time else None,
            order.transaction_id,
        )

    async def refunds(
        self,
        mode: RefundMode,
        *,
        times: int = 1,
        delay: timedelta = timedelta(0),
        callback: bool = True,
    ) -> None:
        self.hands = Hands(mode, times, delay, callback)

    async def settle_refund(
        self, refund_no: str, outcome: RefundState, failure: str = "CLOSED"
    ) -> None:
        refund = self.returned[refund_no]
        if refund["status"] != "PROCESSING":
            return
        succeeded = outcome is RefundState.SUCCEEDED
        refund["status"] = "SUCCESS" if succeeded else failure
        if succeeded:
            refund["success_time"] = now()
        if self.hands.callback:
            news = {name: value for name, value in refund.items() if name != "status"}
            news |= {"mchid": MCHID, "refund_status": refund["status"]}
            event = an_event(f"REFUND.{refund['status']}", news, event_id=f"E-{refund_no}")
            self.tell(self.notify_urls[refund_no], event, self.hands.times)

    async def outage(self, duration: timedelta) -> None:
        self.away_until = datetime.now(UTC) + duration

    def tell(self, url: str, event: bytes, times: int = 1, delay: timedelta = timedelta(0)) -> None:
        async def post() -> None:
            await asyncio.sleep(delay.total_seconds())
            for _ in range(times):
                headers = self.signs.headers(event) | {"content-type": "application/json"}
                await self.http.post(url, content=event, headers=headers)

        self.soon(post())

    def soon(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    # The interface

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        try:
            self.believe(request, body)
            if self.away_until and datetime.now(UTC) < self.away_until:
                raise Refusal(503, "SYSTEM_ERROR", "系统错误")
            asked = json.loads(body) if body else {}
            self.requests.append((request.method, str(request.url.path), asked))
            if self.next_answers:
                instead = self.next_answers.popleft()
                if isinstance(instead, Response):
                    return instead
                raise instead
            told = await self.do(request, asked)
        except Refusal as refusal:
            told = (refusal.status, {"code": refusal.code, "message": refusal.message})
        if isinstance(told, bytes):
            return Response(told, media_type="application/octet-stream")
        status, document = told
        content = json.dumps(document, ensure_ascii=False).encode() if document else b""
        return Response(content, status, self.signs.headers(content), "application/json")

    def believe(self, request: Request, body: bytes) -> None:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        told = dict(AUTHORIZATION.findall(rest))
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        head = [request.method, target, told.get("timestamp", ""), told.get("nonce_str", ""), ""]
        fresh = abs(datetime.now(UTC).timestamp() - int(told.get("timestamp", 0))) < 300
        known = (told.get("mchid"), told.get("serial_no")) == (MCHID, SERIAL)
        if scheme != "WECHATPAY2-SHA256-RSA2048" or not fresh or not known:
            raise Refusal(401, "SIGN_ERROR", "签名错误")
        if told["nonce_str"] in self.nonces:
            raise Refusal(401, "SIGN_ERROR", "签名错误")
        self.nonces.add(told["nonce_str"])
        try:
            rsa_key("merchant").public_key().verify(
                base64.b64decode(told["signature"]),
                "\n".join(head).encode() + body + b"\n",
                PKCS1v15(),
                SHA256(),
            )
        except InvalidSignature:
            raise Refusal(401, "SIGN_ERROR", "签名错误") from None

    async def do(self, request: Request, asked: dict[str, Any]) -> Any:
        path, parts = request.url.path, request.url.path.split("/")
        if path.startswith("/v3/pay/transactions/out-trade-no/"):
            closing = parts[-1] == "close"
            order = self.order(parts[-2 if closing else -1])
            return (204, self.close(order)) if closing else (200, order.told())
        if path.startswith("/v3/pay/transactions/"):
            return 200, self.prepay(asked, Trade(parts[-1].upper()))
        if path == "/v3/billdownload/file":
            return gzip.compress(self.bill_file(request.query_params["token"]))
        if path == "/v3/bill/tradebill":
            return 200, self.bill(request.query_params["bill_date"])
        if path == "/v3/certificates":
            return 200, {"data": self.certificates}
        return 200, self.refund(asked) if asked else self.known_refund(parts[-1])

    def known_refund(self, refund_no: str) -> dict[str, Any]:
        if refund_no not in self.returned:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
        return self.returned[refund_no]

    def order(self, payment_no: str) -> Order:
        if payment_no not in self.orders:
            raise Refusal(404, "ORDER_NOT_EXIST", "订单不存在")
        return self.orders[payment_no]

    def prepay(self, asked: dict[str, Any], trade: Trade) -> dict[str, str]:
        if (asked["appid"], asked["mchid"]) != (APPID, MCHID):
            raise Refusal(400, "APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配")
        if not re.fullmatch(r"[A-Za-z0-9_|*-]{6,32}", asked["out_trade_no"]):
            raise Refusal(400, "PARAM_ERROR", "商户订单号不符合规则")
        if trade is Trade.JSAPI and not asked["payer"]["openid"].startswith("o"):
            raise Refusal(400, "PARAM_ERROR", "无效的openid")
        known = self.orders.setdefault(
            asked["out_trade_no"], Order(asked, trade, f"wx{secrets.token_hex(17)}")
        )
        if known.state != "NOTPAY":
            raise Refusal(400, "ORDERPAID" if known.transaction_id else "ORDER_CLOSED", "订单状态")
        if (known.asked, known.trade) != (asked, trade):
            raise Refusal(403, "OUT_TRADE_NO_USED", "商户订单号重复")
        if trade is Trade.JSAPI:
            return {"prepay_id": known.prepay_id}
        return {"code_url": f"weixin://wxpay/bizpayurl?pr={known.prepay_id[:9]}"}

    def close(self, order: Order) -> None:
        if order.transaction_id:
            raise Refusal(400, "ORDERPAID", "订单已支付")
        if order.state == "CLOSED":
            raise Refusal(400, "ORDER_CLOSED", "订单已关闭")
        order.state = "CLOSED"

    def refund(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self.hands.mode is RefundMode.UNAVAILABLE:
            raise Refusal(500, "SYSTEM_ERROR", "系统超时")
        amount, number = asked["amount"], asked["out_refund_no"]
        if asked["out_trade_no"] not in self.orders:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "订单不存在")
        order = self.orders[asked["out_trade_no"]]
        if (earlier := self.returned.get(number)) is not None:
            if (earlier["out_trade_no"], earlier["amount"]["refund"]) != (
                asked["out_trade_no"],
                amount["refund"],
            ):
                raise Refusal(400, "INVALID_REQUEST", DIFFERS)
            return earlier
        if order.transaction_id is None:
            raise Refusal(400, "INVALID_REQUEST", "订单未支付")
        if amount["total"] != order.total:
            raise Refusal(400, "INVALID_REQUEST", DIFFERS)
        before = sum(
            r["amount"]["refund"]
            for r in self.returned.values()
            if r["out_trade_no"] == asked["out_trade_no"] and r["status"] != "CLOSED"
        )
        if before + amount["refund"] > order.total:
            raise Refusal(400, "INVALID_REQUEST", "申请退款金额大于订单剩余可退金额")
        order.state = "REFUND"
        self.notify_urls[number] = asked["notify_url"]
        refund = self.returned[number] = {
            "refund_id": f"50000{secrets.randbelow(10**23):023d}",
            "out_refund_no": number,
            "transaction_id": order.transaction_id,
            "out_trade_no": asked["out_trade_no"],
            "user_received_account": "支付用户零钱",
            "create_time": now(),
            "status": "PROCESSING",
            "amount": amount | {"payer_total": order.total, "payer_refund": amount["refund"]},
        }
        told = dict(refund)
        if self.hands.mode is not RefundMode.PENDING:
            self.soon(self._settle_later(number))
        return told

    async def _settle_later(self, refund_no: str) -> None:
        failing = self.hands.mode is RefundMode.FAIL
        await asyncio.sleep(self.hands.delay.total_seconds())
        outcome = RefundState.FAILED if failing else RefundState.SUCCEEDED
        await self.settle_refund(refund_no, outcome)

    def bill_file(self, day: str) -> bytes:
        found = self.bills.get(day, Refusal(400, "NO_STATEMENT_EXIST", "账单文件不存在"))
        if isinstance(found, Refusal):
            raise found
        return found.encode()

    def bill(self, day: str) -> dict[str, str]:
        return {
            "hash_type": "SHA1",
            "hash_value": hashlib.sha1(self.bill_file(day)).hexdigest(),  # noqa: S324 - as WeChat
            "download_url": f"https://api.mch.weixin.qq.com/v3/billdownload/file?token={day}",
        }


def now() -> str:
    return datetime.now(BEIJING).isoformat(timespec="seconds")


def yesterday() -> date:
    return datetime.now(BEIJING).date() - timedelta(days=1)


@contextlib.asynccontextmanager
async def wechat_server() -> AsyncIterator[WechatServer]:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        server = WechatServer(http)
        routes = [Route("/{path:path}", server.answer, methods=["GET", "POST"])]
        async with serve(Starlette(routes=routes)) as url:
            server.url = url
            yield server
            for task in list(server.running):
                task.cancel()
