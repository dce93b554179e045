"""The payer's page: what a phone would show. It is complete in itself."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from activities.gateways.payment import PaymentState, to_yuan
from sandbox.money import find_payment, payment_state, take_money, tell_payment
from sandbox.refusal import Refusal
from sandbox.store import Store, stamp

_TOKEN_VALID = timedelta(minutes=30)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
        " frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STATES = {
    PaymentState.PENDING: "待支付 / Waiting for payment",
    PaymentState.PAID: "已支付 / Paid",
    PaymentState.CLOSED: "已关闭 / Closed",
    PaymentState.UNKNOWN: "查无此单 / No such payment",
}


@dataclass(frozen=True)
class View:
    payment_no: str
    state: PaymentState
    fen: int = 0
    refused_before: bool = False
    token: str | None = None


@dataclass(frozen=True)
class Page:
    store: Store

    def view(self, payment_no: str, now: datetime) -> View:
        """What to show; a pending payment gets a fresh token for its form."""
        with self.store.transaction() as db:
            row = find_payment(db, payment_no)
            if row is None:
                return View(payment_no, PaymentState.UNKNOWN)
            state, token = payment_state(row, now), None
            if state is PaymentState.PENDING:
                token = secrets.token_urlsafe(24)
                db.execute("DELETE FROM page_token WHERE at < ?", (stamp(now - _TOKEN_VALID),))
                db.execute(
                    "INSERT INTO page_token (token, payment_no, at) VALUES (?, ?, ?)",
                    (token, payment_no, stamp(now)),
                )
            failed = db.execute(
                "SELECT 1 FROM failed_attempt WHERE payment_no = ?", (payment_no,)
            ).fetchone()
            return View(payment_no, state, row["amount"], failed is not None, token)

    def pay(self, payment_no: str, token: str, now: datetime) -> None:
        """Use up the token and take the money. A page, unlike a control, cannot pay what is closed.

        Refusal 403 `bad_token`; a payment that is not pending is left as it is.
        """
        with self.store.transaction() as db:
            used = db.execute(
                "DELETE FROM page_token WHERE token = ? AND payment_no = ? AND at >= ?",
                (token, payment_no, stamp(now - _TOKEN_VALID)),
            )
            if used.rowcount == 0:
                raise Refusal(403, "bad_token")
            row = find_payment(db, payment_no)
            if row is not None and payment_state(row, now) is PaymentState.PENDING:
                tell_payment(db, take_money(db, payment_no, now), 1, now)


def page_router(store: Store, clock: Callable[[], datetime], wake: Callable[[], None]) -> APIRouter:
    router, page = APIRouter(), Page(store)

    @router.get("/pay/{payment_no}")
    async def show(payment_no: str) -> Response:
        view = await asyncio.to_thread(page.view, payment_no, clock())
        status = 404 if view.state is PaymentState.UNKNOWN else 200
        return HTMLResponse(_html(view), status, _HEADERS)

    @router.post("/pay/{payment_no}")
    async def pay(payment_no: str, request: Request) -> Response:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"))
        token = fields.get("token", [""])[0]
        await asyncio.to_thread(page.pay, payment_no, token, clock())
        wake()
        # Relative, so that it also holds behind a proxy; 303 makes a reload harmless.
        return RedirectResponse(request.url.path, 303, _HEADERS)

    return router


def _html(view: View) -> str:
    known = view.state is not PaymentState.UNKNOWN
    amount = f'<p class="amount">¥ {to_yuan(view.fen)}</p>' if known else ""
    refused = (
        "<p>上次支付被银行拒绝 / The last attempt was refused by the bank</p>"
        if view.refused_before and view.state is PaymentState.PENDING
        else ""
    )
    form = (
        f'<form method="post"><input type="hidden" name="token" value="{escape(view.token)}">'
        "<button>支付 / Pay</button></form>"
        if view.token
        else ""
    )
    return f"""<!doctype html>
<html lang="zh"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>沙箱收银台 / Sandbox cashier</title>
<style>
body {{ font: 1.1rem system-ui, sans-serif; max-width: 24rem; margin: 4rem auto; padding: 0 1rem;
  text-align: center; color: #222 }}
.amount {{ font-size: 2.4rem; margin: 1rem 0 }}
.no, small {{ color: #666; font-size: .85rem; overflow-wrap: anywhere }}
button {{ font: inherit; width: 100%; padding: .8rem; border: 0; border-radius: .5rem;
  background: #07803f; color: #fff; cursor: pointer }}
</style></head><body>
<h1>沙箱收银台<br><small>Sandbox cashier · 不收真钱 / no real money</small></h1>
{amount}<p>{_STATES[view.state]}</p>{refused}{form}
<p class="no">{escape(view.payment_no)}</p>
</body></html>
"""
