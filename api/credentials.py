"""What entitles a doctor to practise (执业资质): kept by operators, asked before any case."""

from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.fields import today_at
from api.problems import Problem
from api.routing import Router
from api.schemas.credential import Credential, CredentialWanted
from api.schemas.paging import Id
from db.credential import (
    KeptCredential,
    NoSuchDoctor,
    credential_of,
    keep_credential,
    read_credential,
)
from db.journal import audit
from domain.access import Action, Role
from domain.credential import Credential as Entitlement
from domain.credential import CredentialRefusal, refusal

router = Router(prefix="/doctors/{id}/credential", tags=["credentials"])

REFUSED = ("not_authenticated", "forbidden", "not_found", "invalid")


async def refuse_unentitled(context: Context, connection: AsyncConnection, doctor_id: int) -> None:
    """Raises Problem when this doctor may take no new case today (R07)."""
    if (why := await why_unentitled(context, connection, doctor_id)) is not None:
        raise Problem(why.value)


async def why_unentitled(
    context: Context, connection: AsyncConnection, doctor_id: int
) -> CredentialRefusal | None:
    """None: this doctor may take new cases today."""
    today = today_at(context.config.hospital)
    recorded = await credential_of(connection, doctor_id)
    return refusal(recorded, today, context.config.compliance)


@router.get("", summary="A doctor's credentials", responses=refusals(*REFUSED))
async def get_credential(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> Credential:
    """404 when nothing is recorded."""
    require(caller, Action.KEEP_CREDENTIALS)
    kept = await read_credential(connection, context.keyring, context.hospital_id, id)
    if kept is None:
        raise Problem("not_found")
    return _shown(context, id, kept)


@router.put("", summary="Record a doctor's credentials", responses=refusals(*REFUSED))
async def put_credential(
    id: Id,
    wanted: CredentialWanted,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
) -> Credential:
    """Replaces them all: what is not sent is no longer recorded. Audited, without the number."""
    require(caller, Action.KEEP_CREDENTIALS)
    today = today_at(context.config.hospital)
    if wanted.practising_since is not None and wanted.practising_since > today:
        raise Problem.of_field("practisingSince", "lies in the future")
    new = KeptCredential(**wanted.model_dump())
    try:
        before = await keep_credential(connection, context.keyring, context.hospital_id, id, new)
    except NoSuchDoctor:
        raise Problem("not_found") from None
    if before != new:
        await audit(
            connection,
            caller.hospital_id,
            "credential_changed",
            f"doctor/{id}",
            actor_role=Role.OPERATOR,
            actor_id=caller.account_id,
            details={"before": _told(before), "after": _told(new)},
        )
    return _shown(context, id, new)


def _told(kept: KeptCredential | None) -> dict[str, str | bool | None] | None:
    """For the audit: days, and whether there is a number."""
    if kept is None:
        return None
    days = {
        "licenceValidUntil": kept.licence_valid_until,
        "practisingSince": kept.practising_since,
        "institutionConsentUntil": kept.institution_consent_until,
    }
    return {
        "licence": kept.licence_no is not None,
        "institution": kept.institution,
        **{name: day.isoformat() if day else None for name, day in days.items()},
    }


def _shown(context: Context, doctor_id: int, kept: KeptCredential) -> Credential:
    entitlement = Entitlement(
        has_licence=kept.licence_no is not None,
        licence_valid_until=kept.licence_valid_until,
        practising_since=kept.practising_since,
        institution_consent_until=kept.institution_consent_until,
    )
    today = today_at(context.config.hospital)
    why = refusal(entitlement, today, context.config.compliance)
    return Credential.model_validate({**vars(kept), "doctor_id": doctor_id, "refusal": why})
