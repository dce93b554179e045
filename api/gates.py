"""What must hold before a consultation: consent, credentials, and no red flag."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context
from api.credentials import refuse_unentitled
from api.fields import today_at
from api.problems import Problem
from api.schemas.consultation import NewConsultation
from db.account import PatientDetails
from db.account.data_keys import SealingKey
from db.consent import lacking_consents
from db.work_item import open_work_item
from domain.access import Caller, Capacity, Role
from domain.account import age_on
from domain.consent import needed_consents
from domain.hospital import Compliance
from domain.order import Actor
from domain.red_flags import RedFlag, red_flags_in
from domain.work_item import WorkItemKind, for_desk

NURSES_HAVE = timedelta(minutes=5)  # then operators may call too


async def refuse_without_consent(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    patient_id: int,
    birth_date: date,
) -> None:
    """R20: today's text, and a guardian's for a minor. Problem `consent_missing`."""
    if context.config.compliance is not Compliance.CN_2022:
        return
    today = today_at(context.config.hospital)
    kinds = needed_consents(age_on(birth_date, today))
    lacking = await lacking_consents(
        connection, context.consents, caller.account_id, patient_id, kinds, today
    )
    if lacking:
        needed = [{"kind": text.kind, "version": text.version} for text in lacking]
        raise Problem("consent_missing", needed=needed)


async def refuse_doctor_who_takes_nobody(
    context: Context, connection: AsyncConnection, doctor_id: int
) -> None:
    """What `refuse_unentitled` tells the doctor, without the reason, which is not the patient's."""
    try:
        await refuse_unentitled(context, connection, doctor_id)
    except Problem:
        raise Problem("doctor_unavailable") from None


def flags_of(
    context: Context, new: NewConsultation, details: PatientDetails
) -> tuple[RedFlag, ...]:
    """What in the words of an order wants a physical emergency department."""
    born, today = details.birth_date, today_at(context.config.hospital)
    months = (today.year - born.year) * 12 + today.month - born.month - (today.day < born.day)
    return red_flags_in(
        context.red_flags,
        new.complaint,
        new.description,
        *new.symptoms,
        age_in_months=months,
        gender=details.gender,
    )


async def have_a_nurse_call(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    patient_id: int,
    key: SealingKey,
    words: str,
    flags: tuple[RedFlag, ...],
) -> None:
    """Whoever writes of danger is not left alone: a nurse has them on the list. Once for the same
    signs while it is open; other signs of the same person are another call. What the signs are is
    health: it lies in the sealed note, and in the subject as what only our keyring can make."""
    ids = ",".join(sorted(flag.id for flag in flags))
    signs = context.keyring.blind("red_flags", f"{patient_id}/{ids}").hex()[:16]
    call = for_desk(
        WorkItemKind.RED_FLAG,
        f"patient/{patient_id}/{signs}",
        context.config.policies.work_items.lease,
    )
    await open_work_item(
        connection,
        context.hospital_id,
        replace(
            call,
            excluded=(caller.account_id,),  # a nurse is not asked to call herself
            escalates_at=datetime.now(UTC) + NURSES_HAVE,
            escalates_to=Role.OPERATOR,
        ),
        by=Actor.person(Capacity.OWNER, caller.account_id),
        note=(key.id, key.key.seal({"note": f"[{ids}] {words}"})),
    )
