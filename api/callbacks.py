"""What message providers tell about delivery. Believed by signature, kept once, relayed."""

from fastapi import Request
from starlette.datastructures import FormData

from activities.gateways.twilio_sms import read_receipt
from activities.gateways.twilio_wire import BadSignature, MalformedCallback, SignatureVerifier
from api.context import Context, InContext
from api.documented import refusals
from api.forgeries import note_forgery
from api.problems import Problem
from api.routing import Router
from db.message import message_delivered
from db.outbox import promise, receive
from domain.message import Channel

router = Router(prefix="/callbacks", tags=["callbacks"])


@router.post(
    "/twilio",
    summary="Twilio's status of an SMS",
    status_code=204,
    responses=refusals("bad_signature", "malformed", "not_found"),
)
async def twilio_status(request: Request, context: InContext) -> None:
    form = await signed_form(request, context)
    try:
        receipt = read_receipt(str(request.url), form)
    except MalformedCallback:
        raise Problem("malformed") from None
    if not receipt.state.final:
        return
    delivered = receipt.state == "delivered"
    async with context.engine.begin() as connection:
        new = await receive(
            connection,
            source="twilio",
            event_id=f"{receipt.provider_id}:{receipt.state}",
            subject=receipt.provider_id,
            kind=receipt.state,
            content={"error_code": receipt.error_code},
        )
        key = await message_delivered(
            connection,
            receipt.provider_id,
            key=receipt.key,
            delivered=delivered,
            error_code=receipt.error_code,
        )
        if new and key is not None:
            fact = key.rsplit(":", 1)[0]
            await promise(
                connection,
                stream=f"message/{fact}",
                workflow="message",
                subject=fact,
                signal="receipt",
                args={"channel": Channel.SMS, "delivered": delivered},
            )
    context.doorbell.ring()


async def signed_form(request: Request, context: Context) -> dict[str, str]:
    """What Twilio posted to this route. Raises Problem `bad_signature`, which is noted, and
    `not_found` where Twilio is not set up."""
    twilio = context.settings.twilio
    if twilio is None:
        raise Problem("not_found")
    form = dict(_texts(await request.form()))
    # The address that Twilio called, not what is left of it behind a proxy.
    url = f"{context.settings.public_url}{request.url.path}"
    if request.url.query:
        url += f"?{request.url.query}"
    try:
        SignatureVerifier(twilio.auth_token).verify(
            url, form, request.headers.get("x-twilio-signature")
        )
    except BadSignature:
        await note_forgery(context, request, "twilio", "forged")
        raise Problem("bad_signature") from None
    return form


def _texts(form: FormData) -> list[tuple[str, str]]:
    return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
