"""One-time codes by SMS, sent within the request: people log in while Temporal is away.

A code goes out to every phone that asks, registered or not: what happens, what is answered and how
long it takes tell nothing about who has an account.
"""

import secrets
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.gateways.sending import MessageError, RetryableMessageError
from api.context import Context
from api.limits import code_limits, too_often
from api.problems import Problem
from db.account import find_account, issue_code, sealing_key_for_phone, try_code
from db.message import NewMessage, claim_message, message_failed, message_sent
from db.rate_limit import TooOften, count, give_back
from domain.account import CodePurpose
from domain.message import Channel, Language, Template

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Claimed:
    """A message that is written down and not yet handed over."""

    id: int
    key: str
    text: str


async def send_code(
    context: Context, phone: str, purpose: CodePurpose, *, address: str, language: Language
) -> None:
    """Issue a code for the phone (E.164) and send it. Raises Problem `too_many_requests`, and
    `message_not_sent` when it certainly did not go out."""
    limits = code_limits(context, phone, purpose, address)
    try:
        async with context.engine.begin() as connection:
            await count(connection, *limits)
            claimed = await _issue(connection, context, phone, purpose, language)
    except TooOften as refused:
        raise too_often(refused) from None
    try:
        sent = await context.sms.send(to=phone, text=claimed.text, key=claimed.key)
    except MessageError as error:
        if isinstance(error, RetryableMessageError) and error.outcome_unknown:
            # It may well arrive; if not, the pause before the next one is short.
            log.warning("sms_code_outcome_unknown", error=error.code)
            return
        async with context.engine.begin() as connection:
            await message_failed(connection, claimed.id, error.code)
            await give_back(connection, limits[1].key)  # nothing came, so no need to pause
        log.warning("sms_code_not_sent", error=error.code)
        raise Problem("message_not_sent") from None
    async with context.engine.begin() as connection:
        await message_sent(
            connection, claimed.id, sent.provider_id, receipt_expected=sent.receipt_expected
        )


async def use_code(
    connection: AsyncConnection, context: Context, phone: str, purpose: CodePurpose, code: str
) -> bool:
    """Spend one try. The caller commits also after a False."""
    return await try_code(
        connection,
        hospital_id=context.hospital_id,
        phone_index=context.keyring.blind("phone", phone),
        purpose=purpose,
        code_hash=_hash(context, phone, purpose, code),
    )


async def _issue(
    connection: AsyncConnection,
    context: Context,
    phone: str,
    purpose: CodePurpose,
    language: Language,
) -> _Claimed:
    policy = context.config.policies.accounts
    code = f"{secrets.randbelow(1_000_000):06d}"
    phone_index = context.keyring.blind("phone", phone)
    await issue_code(
        connection,
        hospital_id=context.hospital_id,
        phone_index=phone_index,
        purpose=purpose,
        code_hash=_hash(context, phone, purpose, code),
        valid=policy.code_valid,
        tries=policy.code_tries,
    )
    account = await find_account(connection, context.keyring, context.hospital_id, phone)
    if account and account.language:
        language = Language(account.language)
    minutes = max(1, int(policy.code_valid.total_seconds() // 60))
    rendered = context.texts.render(
        Template.SMS_CODE,
        Channel.SMS,
        language,
        {"hospital": context.config.hospital.name, "code": code, "minutes": minutes},
        ZoneInfo(context.config.hospital.time_zone),
    )
    key = f"code:{secrets.token_hex(12)}:{Channel.SMS}"  # leaves the house, so names nobody
    sealing = await sealing_key_for_phone(
        connection, context.keyring, context.hospital_id, phone_index
    )
    claim = await claim_message(
        connection,
        NewMessage(
            hospital_id=context.hospital_id,
            key=key,
            account_id=account.id if account else None,
            channel=Channel.SMS,
            template=Template.SMS_CODE,
            language=language,
            params={"minutes": minutes},
            data_key_id=sealing.id,
            sealed=sealing.key.seal({"to": phone, "subject": None, "text": rendered.text}),
            to_index=phone_index,
        ),
    )
    return _Claimed(claim.id, key, rendered.text)


def _hash(context: Context, phone: str, purpose: CodePurpose, code: str) -> bytes:
    # Six digits are quickly tried through: only the key in the keyring keeps the hash shut.
    return context.keyring.blind("sms-code", f"{context.hospital_id}\0{purpose}\0{phone}\0{code}")
