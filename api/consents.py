"""Consents (知情同意): the texts of today, and who accepted which for whom."""

from typing import Any

from api.context import CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.fields import today_at
from api.idempotency import Once
from api.problems import Problem
from api.routing import Router
from api.schemas.base import Page
from api.schemas.consent import Consent, ConsentGiven, ConsentText
from api.schemas.paging import InPages
from db.account import relation_of
from db.consent import Consent as Given
from db.consent import consents_of, give_consent
from domain.access import Action
from domain.account import Relation
from domain.consent import ConsentKind

router = Router(tags=["consents"])


@router.get("/consents", summary="The texts to accept", responses=refusals("not_authenticated"))
async def get_consents(_: CurrentCaller, context: InContext, paging: InPages) -> Page[ConsentText]:
    """Of each kind the version that is valid today."""
    today = today_at(context.config.hospital)
    texts = [text for kind in ConsentKind if (text := context.consents.current(kind, today))]
    first = (paging.page - 1) * paging.size
    items = [ConsentText.model_validate(text) for text in texts[first : first + paging.size]]
    return Page(items=items, total=len(texts), page=paging.page, size=paging.size)


@router.get(
    "/users/me/consents",
    summary="What I accepted",
    responses=refusals("not_authenticated", "forbidden"),
)
async def get_my_consents(
    caller: CurrentCaller, connection: Transaction, paging: InPages
) -> Page[Consent]:
    """The newest first."""
    require(caller, Action.CONSENT)
    found, total = await consents_of(
        connection, caller.account_id, page=paging.page, size=paging.size
    )
    items = [Consent.model_validate(_fields(given)) for given in found]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


@router.post(
    "/users/me/consents",
    status_code=201,
    summary="Accept a text",
    responses=refusals(
        "invalid", "idempotency_mismatch", "consent_outdated", "not_found", "not_authenticated",
        "forbidden",
    ),
)  # fmt: skip
async def post_consent(
    wanted: ConsentGiven,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    once: Once,
) -> Consent:
    """For a person (就诊人) of one's own. Again, it is the first acceptance. Any other version than
    today's is refused with today's `version`."""
    require(caller, Action.CONSENT)
    reference = await once.answered(connection)
    if reference is None:
        relation = await relation_of(connection, caller.account_id, wanted.patient_id)
        if relation is None:
            raise Problem("not_found")
        if wanted.kind is ConsentKind.GUARDIAN and relation is Relation.SELF:
            raise Problem.of_field("patientId", "nobody is their own guardian")
        text = context.consents.current(wanted.kind, today_at(context.config.hospital))
        if text is None or text.version != wanted.version:
            raise Problem("consent_outdated", version=text.version if text else None)
        given = await give_consent(
            connection, context.hospital_id, caller.account_id, wanted.patient_id, text
        )
        reference = str(given)
        await once.remember(connection, reference)
    found, _ = await consents_of(connection, caller.account_id, id=int(reference))
    return Consent.model_validate(_fields(found[0]))


def _fields(given: Given) -> dict[str, Any]:
    return {**vars(given), "text_hash": bytes(given.text_hash).hex()}
