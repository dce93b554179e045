"""The line (候补) for a full slot. A source that comes free passes to the first in it."""

from typing import Annotated

from fastapi import Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.idempotency import Once
from api.problems import Problem
from api.routing import Router
from api.schemas.base import Page
from api.schemas.paging import Id, InPages
from api.schemas.waitlist import JoinWaitlist, WaitlistEntry
from db.account import own_person
from db.waitlist import WaitlistEntry as Entry
from db.waitlist import WantedPlace, find_entry, join_waitlist, leave_waitlist, list_entries
from domain.access import Action, Caller
from domain.waitlist import WaitlistStatus

router = Router(tags=["waitlist"])

NOT_FOUND = frozenset({"patient_unknown", "schedule_unknown"})


@router.post(
    "/schedules/{id}/waitlist",
    status_code=201,
    summary="Get in line for a full slot",
    responses=refusals(
        "not_authenticated", "forbidden", "not_found", "invalid", "not_full", "waitlist_full",
        "slot_begun", "schedule_unavailable", "not_open_yet", "not_offered", "already_booked",
        "daily_limit", "suspended", "booking_refused", "idempotency_mismatch", "unavailable",
    ),
)  # fmt: skip
async def join(
    id: Id,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    response: Response,
    once: Once,
    wanted: JoinWaitlist | None = None,
) -> WaitlistEntry:
    """The first in line is offered the next source that comes free, as an unpaid order held for
    15 minutes. Whoever is in line already keeps their place (200)."""
    require(caller, Action.BOOK)
    patient_id = wanted.patient_id if wanted else None
    patient_id = patient_id or await own_person(connection, caller.account_id)
    if patient_id is None:
        raise Problem.of_field("patientId", "add a person to your account, or name one")
    if (earlier := await once.answered(connection)) is not None:
        response.status_code = 200
        return await _entry(context, connection, caller, int(earlier))
    place = WantedPlace(context.hospital_id, caller.account_id, id, patient_id)
    code, entry_id = await join_waitlist(connection, place, context.booking_rules)
    if code not in ("joined", "waiting") or entry_id is None:
        raise Problem("not_found" if code in NOT_FOUND else code)
    if code == "waiting":
        response.status_code = 200
    await once.remember(connection, str(entry_id))
    return await _entry(context, connection, caller, entry_id)


async def _entry(
    context: Context, connection: AsyncConnection, caller: Caller, id: int
) -> WaitlistEntry:
    entry = await find_entry(connection, context.hospital_id, caller.account_id, id)
    if entry is None:
        raise Problem("not_found")
    return _shown(entry)


@router.delete(
    "/schedules/{id}/waitlist",
    status_code=204,
    summary="Leave the line",
    responses=refusals("not_authenticated", "forbidden", "not_found", "unavailable"),
)
async def leave(
    id: Id,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    patient_id: Annotated[
        Id | None, Query(alias="patientId", description="Default: everybody of this account.")
    ] = None,
) -> None:
    """404 when nobody of this account waits there. An offer is left by cancelling its order."""
    require(caller, Action.BOOK)
    left = await leave_waitlist(connection, context.hospital_id, caller.account_id, id, patient_id)
    if not left:
        raise Problem("not_found")


@router.get(
    "/users/me/waitlist",
    summary="My places in line",
    responses=refusals("not_authenticated", "invalid", "unavailable"),
)
async def get_waitlist(
    caller: CurrentCaller, context: InContext, connection: Transaction, paging: InPages
) -> Page[WaitlistEntry]:
    """Newest first, those that have ended too."""
    entries, total = await list_entries(
        connection, context.hospital_id, caller.account_id, page=paging.page, size=paging.size
    )
    items = [_shown(entry) for entry in entries]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


def _shown(entry: Entry) -> WaitlistEntry:
    return WaitlistEntry(
        id=entry.id,
        schedule_id=entry.schedule_id,
        patient_id=entry.patient_id,
        doctor_id=entry.doctor_id,
        doctor_name=entry.doctor_name,
        schedule_date=entry.date,
        time_slot=entry.time_slot,
        status=WaitlistStatus(entry.status),
        place=entry.place,
        joined_at=entry.created_at,
        appointment_id=entry.appointment_id,
        order_no=entry.order_no,
        pay_by=entry.pay_by,
    )
