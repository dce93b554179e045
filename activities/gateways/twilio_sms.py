"""SMS through Twilio's Messages API, and its signed status callbacks.

The `twilio` client is the real one; only its transport is ours. Its own transports do not serve
here: both log query strings, where a look-up has the number; the asynchronous one ignores its
timeout; the synchronous one hands answers over in a shared attribute, so that two threads can
get each other's.
"""

import json
import logging
from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import httpx
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from activities.gateways.sending import (
    Fault,
    MessageError,
    PermanentMessageError,
    RetryableMessageError,
    Sent,
)
from activities.gateways.sms import Receipt, ReceiptState

logger = logging.getLogger(__name__)
T = TypeVar("T")

# https://www.twilio.com/docs/api/errors: the number cannot get our SMS, now or later. Codes that
# are not here and not below count as the sender's fault; either way the next channel is tried.
RECIPIENT_FAULTS: Final = frozenset({
    21211,  # invalid number
    21214,  # number cannot be reached
    21217,  # number does not appear to be valid
    21265,  # a short code
    21268,  # a premium or information service
    21610,  # unsubscribed (STOP)
    21612,  # cannot be reached from our sender
    21614,  # not a mobile number
    21635,  # a landline
    30004,  # blocked by the handset's owner or carrier
    30005,  # unknown or no longer in service
    30006,  # a landline or an unreachable carrier
})  # fmt: skip
# Refused with 400, but only for now: our sender's queue is full; too many requests.
RETRYABLE: Final = frozenset({21611, 20429, 14107, 63017})

# Twilio's list may lag behind what it has accepted. A look-up sooner could miss the message.
SETTLING: Final = timedelta(seconds=30)
# The clocks of the two houses, and Twilio's times are whole seconds.
CLOCK_SKEW: Final = timedelta(seconds=60)
LOOKED_THROUGH: Final = 50  # a number's newest messages

STATES: Final = {
    "delivered": ReceiptState.DELIVERED,
    "read": ReceiptState.DELIVERED,
    "sent": ReceiptState.SENT,
    "undelivered": ReceiptState.UNDELIVERED,
    "failed": ReceiptState.FAILED,
    "canceled": ReceiptState.FAILED,
}


class TwilioSms:
    """An SmsGateway. Open it in the event loop that uses it, and `aclose()` it at the end.

    `messaging_service_sid` or `from_number` names the sender; the service wins. Receipts are
    expected when `status_callback` is given: the public URL of our route, without a query.
    `timeout` is in seconds, for each of connecting, writing and reading.
    """

    def __init__(
        self,
        *,
        account_sid: str,
        auth_token: str,
        messaging_service_sid: str | None = None,
        from_number: str | None = None,
        status_callback: str | None = None,
        timeout: float = 10.0,
        base_url: str | None = None,
    ) -> None:
        if messaging_service_sid:
            self._sender = {"messaging_service_sid": messaging_service_sid}
        elif from_number:
            self._sender = {"from_": from_number}
        else:
            raise ValueError("Twilio needs a messaging service or a number to send from")
        self._status_callback = status_callback
        self._http = _Transport(timeout)
        # An empty environment would be taken as none, and the process's read instead.
        environment = {"TWILIO_EDGE": "", "TWILIO_REGION": ""}
        self._client = Client(
            account_sid, auth_token, http_client=self._http, environment=environment
        )
        if base_url:
            self._client.api.base_url = base_url

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, *, to: str, text: str, key: str) -> Sent:
        callback: dict[str, str] = {}
        if self._status_callback:
            callback["status_callback"] = f"{self._status_callback}?key={quote(key, safe='')}"
        message = await _told(
            # Not "smart encoded": the text must come back from the list as it was written.
            self._client.messages.create_async(
                to=to, body=text, smart_encoded=False, **self._sender, **callback
            )
        )
        if not message.sid:
            raise _unknown("twilio:no_sid")
        return self._sent(message.sid)

    async def find(self, *, to: str, text: str, since: datetime) -> Sent | None:
        # Not filtered by DateSent: a message that is still queued has none.
        messages = await _told(self._client.messages.list_async(to=to, limit=LOOKED_THROUGH))
        for message in messages:
            created = message.date_created
            # A trial account puts a sentence of its own before the text.
            same = bool(message.body) and message.body.endswith(text)
            if same and created is not None and created >= since - CLOCK_SKEW:
                return self._sent(message.sid)
        return None

    def _sent(self, sid: str) -> Sent:
        return Sent(provider_id=sid, receipt_expected=self._status_callback is not None)


class _Refused(Exception):
    def __init__(self, status: int, code: int, retry_after: timedelta | None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class _Transport(AsyncHttpClient):  # type: ignore[misc]  # the package has no types
    def __init__(self, timeout: float) -> None:
        super().__init__(logger, is_async=True, timeout=timeout)
        # httpx's client logs every URL; its transport, which is used here, does not.
        self._transport = httpx.AsyncHTTPTransport()
        self._timeouts = httpx.Timeout(timeout).as_dict()

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def request(
        self,
        method: str,
        uri: str,
        *,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        request = httpx.Request(
            method,
            uri,
            params=params or None,
            data=data or None,
            headers=headers,
            extensions={"timeout": self._timeouts},
        )
        if auth:
            request = next(httpx.BasicAuth(*auth).auth_flow(request))
        response = await self._transport.handle_async_request(request)
        try:
            await response.aread()
        finally:
            await response.aclose()
        if not response.is_success:
            raise _Refused(response.status_code, _code(response), _retry_after(response))
        return Response(response.status_code, response.text, response.headers)


def _code(response: httpx.Response) -> int:
    """Twilio's own code, else the HTTP status."""
    try:
        return int(json.loads(response.text)["code"])
    except (ValueError, KeyError, TypeError):
        return response.status_code


def _retry_after(response: httpx.Response) -> timedelta | None:
    seconds = response.headers.get("Retry-After", "")
    return timedelta(seconds=int(seconds)) if seconds.isascii() and seconds.isdigit() else None


async def _told(call: Awaitable[T]) -> T:
    try:
        return await call
    except (_Refused, httpx.RequestError, json.JSONDecodeError) as error:
        failure = _failure(error)
    # Outside of the except block: the original is not chained, its text may hold the number.
    raise failure


def _failure(error: Exception) -> MessageError:
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return RetryableMessageError("twilio:connect")  # nothing has left
        case httpx.TimeoutException():
            return _unknown("twilio:timeout")
        case _Refused():
            return _refusal(error)
        case _:
            return _unknown("twilio:broken_answer")


def _refusal(refused: _Refused) -> MessageError:
    code = f"twilio:{refused.code}"
    if refused.status >= 500 or refused.status == 408:
        return _unknown(code, refused.retry_after)
    if refused.status == 429 or refused.code in RETRYABLE:
        return RetryableMessageError(code, retry_after=refused.retry_after)
    at_fault = Fault.RECIPIENT if refused.code in RECIPIENT_FAULTS else Fault.SENDER
    return PermanentMessageError(code, at_fault)


def _unknown(code: str, retry_after: timedelta | None = None) -> RetryableMessageError:
    wait = max(SETTLING, retry_after or SETTLING)
    return RetryableMessageError(code, retry_after=wait, outcome_unknown=True)


class BadSignature(Exception):
    """Not from Twilio, or not as Twilio sent it. Answer 401 and audit."""


class MalformedCallback(Exception):
    """Signed by Twilio, but no message's status."""


class TwilioCallbackVerifier:
    """Checks and reads status callbacks. Several tokens are for the days of a token's change."""

    def __init__(self, auth_token: str, *older_tokens: str) -> None:
        self._validators = [RequestValidator(token) for token in (auth_token, *older_tokens)]

    def parse(self, url: str, form: Mapping[str, str], signature: str | None) -> Receipt:
        """`url` is the one Twilio called, query included: the public URL, not what is left of it
        behind a proxy. `signature` is the header X-Twilio-Signature, `form` the posted fields.
        Raises BadSignature, MalformedCallback.
        """
        if not signature or not any(v.validate(url, form, signature) for v in self._validators):
            raise BadSignature
        sid, status = form.get("MessageSid"), form.get("MessageStatus")
        if not sid or not status:
            raise MalformedCallback
        code = form.get("ErrorCode") or None
        return Receipt(
            provider_id=sid,
            state=STATES.get(status, ReceiptState.ON_ITS_WAY),
            error_code=f"twilio:{code}" if code else None,
            recipient_at_fault=code in {str(fault) for fault in RECIPIENT_FAULTS},
            key=next(iter(parse_qs(urlsplit(url).query).get("key", ())), None),
        )
