"""Allergies (过敏史) of the persons of one's own account."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.idempotency import Once
from api.problems import Problem
from api.routing import Router
from api.schemas.allergy import Allergy, AllergyRecorded
from api.schemas.base import Page
from api.schemas.paging import Id, InPages
from db.account import relation_of
from db.allergy import TooManyAllergies, allergies_of, record_allergy, withdraw_allergy
from domain.access import Action, Caller
from domain.allergy import AllergyStatus, NewAllergy

router = Router(prefix="/users/me/patients/{id}/allergies", tags=["accounts"])

REFUSED = ("not_authenticated", "forbidden", "not_found", "invalid")


@router.get("", summary="A person's allergies", responses=refusals(*REFUSED))
async def get_allergies(
    id: Id,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    paging: InPages,
    status: Annotated[AllergyStatus | None, Query(description="Default: all of them.")] = None,
) -> Page[Allergy]:
    """In the sequence in which they were recorded; what was withdrawn stays in it."""
    await _own(connection, caller, id)
    found = await allergies_of(connection, context.keyring, id, status=status)
    first = (paging.page - 1) * paging.size
    items = [Allergy.model_validate(one) for one in found[first : first + paging.size]]
    return Page(items=items, total=len(found), page=paging.page, size=paging.size)


@router.post(
    "",
    status_code=201,
    summary="Record an allergy",
    responses=refusals(*REFUSED, "idempotency_mismatch", "too_many"),
)
async def post_allergy(
    id: Id,
    new: AllergyRecorded,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    once: Once,
) -> Allergy:
    """Sealed under the person's key. A doctor on a case of this person sees it."""
    await _own(connection, caller, id)
    reference = await once.answered(connection)
    if reference is None:
        try:
            recorded = await record_allergy(
                connection,
                context.keyring,
                id,
                NewAllergy(**new.model_dump()),
                recorded_by=caller.account_id,
            )
        except TooManyAllergies:
            raise Problem("too_many") from None
        if recorded is None:  # their key was thrown away meanwhile
            raise Problem("not_found")
        reference = str(recorded)
        await once.remember(connection, reference)
    found = await allergies_of(connection, context.keyring, id, status=None)
    return Allergy.model_validate(next(one for one in found if one.id == int(reference)))


@router.delete(
    "/{allergy_id}",
    status_code=204,
    summary="Withdraw an allergy",
    responses=refusals(*REFUSED),
)
async def delete_allergy(
    id: Id, allergy_id: Id, caller: CurrentCaller, connection: Transaction
) -> None:
    """It was recorded in error. It stays in the history as `withdrawn`; again changes nothing."""
    await _own(connection, caller, id)
    if not await withdraw_allergy(connection, id, allergy_id, withdrawn_by=caller.account_id):
        raise Problem("not_found")


async def _own(connection: AsyncConnection, caller: Caller, patient_id: int) -> None:
    require(caller, Action.KEEP_PATIENTS)
    if await relation_of(connection, caller.account_id, patient_id) is None:
        raise Problem("not_found")
