"""SMS through Twilio's Messages API, and its signed status callbacks."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from activities.gateways.sending import Sent
from activities.gateways.sms import Receipt, ReceiptState
from activities.gateways.twilio_wire import (
    CLOCK_SKEW,
    Codes,
    MalformedCallback,
    SignatureVerifier,
    Transport,
    client_for,
    told,
    unknown,
)

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

CODES: Final = Codes(RECIPIENT_FAULTS, RETRYABLE)

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
        self._http = Transport(timeout)
        self._client = client_for(account_sid, auth_token, self._http, base_url)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, *, to: str, text: str, key: str) -> Sent:
        callback: dict[str, str] = {}
        if self._status_callback:
            callback["status_callback"] = f"{self._status_callback}?key={quote(key, safe='')}"
        message = await told(
            # Not "smart encoded": the text must come back from the list as it was written.
            self._client.messages.create_async(
                to=to, body=text, smart_encoded=False, **self._sender, **callback
            ),
            CODES,
        )
        if not message.sid:
            raise unknown("twilio:no_sid")
        return self._sent(message.sid)

    async def find(self, *, to: str, text: str, since: datetime) -> Sent | None:
        # Not filtered by DateSent: a message that is still queued has none.
        messages = await told(self._client.messages.list_async(to=to, limit=LOOKED_THROUGH), CODES)
        for message in messages:
            created = message.date_created
            # A trial account puts a sentence of its own before the text.
            same = bool(message.body) and message.body.endswith(text)
            if same and created is not None and created >= since - CLOCK_SKEW:
                return self._sent(message.sid)
        return None

    def _sent(self, sid: str) -> Sent:
        return Sent(provider_id=sid, receipt_expected=self._status_callback is not None)


class TwilioCallbackVerifier(SignatureVerifier):
    """Checks and reads status callbacks."""

    def parse(self, url: str, form: Mapping[str, str], signature: str | None) -> Receipt:
        """Raises BadSignature, MalformedCallback."""
        self.verify(url, form, signature)
        return read_receipt(url, form)


def read_receipt(url: str, form: Mapping[str, str]) -> Receipt:
    """Of a callback that was verified. Raises MalformedCallback."""
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
