"""Duty (值班): a doctor says that they are there, and goes on saying it.

Only this request counts as being seen. An app that fetches messages in a pocket makes others too,
an open event stream makes none, and a write beside every request would be paid for by all of them.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context, CurrentCaller, InContext, Transaction, doctor_of
from api.credentials import refuse_unentitled
from api.documented import refusals
from api.routing import Router
from api.schemas.duty import Duty, DutyWanted
from db.duty import duty_of, set_duty
from domain.access import Action
from domain.duty import HEARTBEAT

router = Router(prefix="/doctors/me/duty", tags=["duty"])


@router.get("", summary="Am I on duty", responses=refusals("not_authenticated", "forbidden"))
async def get_duty(caller: CurrentCaller, connection: Transaction) -> Duty:
    return await _shown(connection, doctor_of(caller, Action.GO_ON_DUTY))


@router.put(
    "",
    summary="Go on or off duty",
    responses=refusals(
        "not_authenticated", "forbidden", "invalid", "licence_expired", "licence_missing",
        "too_few_years", "institution_consent_missing",
    ),
)  # fmt: skip
async def put_duty(
    wanted: DutyWanted, caller: CurrentCaller, context: InContext, connection: Transaction
) -> Duty:
    """For online consultations of these types. Send the same again every `repeatEvery`: who is not
    heard of is not rung. Going off duty is never refused."""
    doctor_id = doctor_of(caller, Action.GO_ON_DUTY)
    if wanted.online:
        await refuse_unentitled(context, connection, doctor_id)
    await _set(context, connection, doctor_id, wanted)
    return await _shown(connection, doctor_id)


async def _set(
    context: Context, connection: AsyncConnection, doctor_id: int, wanted: DutyWanted
) -> None:
    types = tuple(wanted.types)
    await set_duty(connection, context.hospital_id, doctor_id, online=wanted.online, types=types)


async def _shown(connection: AsyncConnection, doctor_id: int) -> Duty:
    duty = await duty_of(connection, doctor_id)
    if duty is None:
        return Duty(
            online=False, types=[], since=None, last_seen_at=None, counted=False,
            repeat_every=HEARTBEAT,
        )  # fmt: skip
    return Duty.model_validate({**vars(duty), "repeat_every": HEARTBEAT})
