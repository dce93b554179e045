"""How we speak with Twilio, whatever about: its client over our transport, what went wrong, and
whether it was Twilio who called.

The `twilio` client is the real one; only its transport is ours. Its own transports do not serve
here: both log query strings, where a look-up has the number; the asynchronous one ignores its
timeout; the synchronous one hands answers over in a shared attribute, so that two threads can
get each other's.
"""

import json
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

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
)

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Twilio's list may lag behind what it has accepted. A look-up sooner could miss the message.
SETTLING: Final = timedelta(seconds=30)
# The clocks of the two houses, and Twilio's times are whole seconds.
CLOCK_SKEW: Final = timedelta(seconds=60)


@dataclass(frozen=True)
class Codes:
    """What Twilio's codes mean for one of its products (https://www.twilio.com/docs/api/errors).
    What is in neither set counts as the sender's fault."""

    recipient_faults: frozenset[int]  # the number can never be reached this way
    retryable: frozenset[int]  # refused with 400, but only for now


def client_for(
    account_sid: str, auth_token: str, transport: "Transport", base_url: str | None
) -> Client:
    # An empty environment would be taken as none, and the process's read instead.
    environment = {"TWILIO_EDGE": "", "TWILIO_REGION": ""}
    client = Client(account_sid, auth_token, http_client=transport, environment=environment)
    if base_url:
        client.api.base_url = base_url
    return client


class _Refused(Exception):
    def __init__(self, status: int, code: int, retry_after: timedelta | None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Transport(AsyncHttpClient):  # type: ignore[misc]  # the package has no types
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


async def told(call: Awaitable[T], codes: Codes) -> T:
    try:
        return await call
    except (_Refused, httpx.RequestError, json.JSONDecodeError) as error:
        failure = _failure(error, codes)
    # Outside of the except block: the original is not chained, its text may hold the number.
    raise failure


def _failure(error: Exception, codes: Codes) -> MessageError:
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return RetryableMessageError("twilio:connect")  # nothing has left
        case httpx.TimeoutException():
            return unknown("twilio:timeout")
        case _Refused():
            return _refusal(error, codes)
        case _:
            return unknown("twilio:broken_answer")


def _refusal(refused: _Refused, codes: Codes) -> MessageError:
    code = f"twilio:{refused.code}"
    if refused.status >= 500 or refused.status == 408:
        return unknown(code, refused.retry_after)
    if refused.status == 429 or refused.code in codes.retryable:
        return RetryableMessageError(code, retry_after=refused.retry_after)
    at_fault = Fault.RECIPIENT if refused.code in codes.recipient_faults else Fault.SENDER
    return PermanentMessageError(code, at_fault)


def unknown(code: str, retry_after: timedelta | None = None) -> RetryableMessageError:
    wait = max(SETTLING, retry_after or SETTLING)
    return RetryableMessageError(code, retry_after=wait, outcome_unknown=True)


class BadSignature(Exception):
    """Not from Twilio, or not as Twilio sent it. Answer 401 and audit."""


class MalformedCallback(Exception):
    """Signed by Twilio, but not what is called back here."""


class SignatureVerifier:
    """Tells who called. Several tokens are for the days of a token's change."""

    def __init__(self, auth_token: str, *older_tokens: str) -> None:
        self._validators = [RequestValidator(token) for token in (auth_token, *older_tokens)]

    def verify(self, url: str, form: Mapping[str, str], signature: str | None) -> None:
        """`url` is the one Twilio called, query included: the public URL, not what is left of it
        behind a proxy. `signature` is the header X-Twilio-Signature, `form` the posted fields.
        Raises BadSignature.
        """
        if not signature or not any(v.validate(url, form, signature) for v in self._validators):
            raise BadSignature
