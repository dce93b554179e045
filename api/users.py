"""The caller's own account: who they are, how to reach them, and the persons (就诊人) they hold."""

from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.fields import today_at
from api.idempotency import Once
from api.problems import Problem
from api.routing import Router
from api.schemas.account import Patient, PatientAdded, Preferences, User
from api.schemas.base import Page
from api.schemas.paging import InPages
from db.account import (
    Account,
    add_patient,
    patients_by_id,
    patients_of,
    read_account,
    set_preferences,
)
from db.account import Patient as HeldPatient
from domain.access import Action, Caller
from domain.account import age_on
from domain.message import Channel, Language

router = Router(prefix="/users/me", tags=["accounts"])


@router.get("", summary="Who am I", responses=refusals("not_authenticated"))
async def get_me(caller: CurrentCaller, context: InContext, connection: Transaction) -> User:
    return User.model_validate(await _account(connection, context, caller))


@router.get(
    "/preferences",
    summary="How messages reach me",
    responses=refusals("not_authenticated"),
)
async def get_preferences(
    caller: CurrentCaller, context: InContext, connection: Transaction
) -> Preferences:
    """What was never chosen is the hospital's choice."""
    return _preferences(context, await _account(connection, context, caller))


@router.put(
    "/preferences",
    summary="Choose how messages reach me",
    responses=refusals("invalid", "not_authenticated"),
)
async def put_preferences(
    wanted: Preferences, caller: CurrentCaller, context: InContext, connection: Transaction
) -> Preferences:
    """Replaces them all: an `email` that is not sent is forgotten."""
    await _account(connection, context, caller)
    await set_preferences(
        connection,
        context.keyring,
        caller.account_id,
        channels=wanted.channels,
        language=wanted.language,
        email=wanted.email,
    )
    return wanted


@router.get(
    "/patients",
    summary="List my persons",
    responses=refusals("not_authenticated", "forbidden"),
)
async def get_patients(
    caller: CurrentCaller, context: InContext, connection: Transaction, paging: InPages
) -> Page[Patient]:
    """The persons (就诊人) of this account, whole: nobody else sees them here."""
    require(caller, Action.KEEP_PATIENTS)
    held = await patients_of(connection, context.keyring, context.hospital_id, caller.account_id)
    today = today_at(context.config.hospital)
    first = (paging.page - 1) * paging.size
    items = [_patient(patient, today) for patient in held[first : first + paging.size]]
    return Page(items=items, total=len(held), page=paging.page, size=paging.size)


@router.post(
    "/patients",
    status_code=201,
    summary="Add a person",
    responses=refusals(
        "invalid", "idempotency_mismatch", "patient_exists", "not_authenticated", "forbidden"
    ),
)
async def post_patient(
    new: PatientAdded,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    once: Once,
) -> Patient:
    """A person (就诊人) whom this account may book for. Gender must agree with the ID number."""
    require(caller, Action.KEEP_PATIENTS)
    today = today_at(context.config.hospital)
    person = new.person(today)
    keyring, hospital = context.keyring, context.hospital_id
    reference = await once.answered(connection)
    if reference is None:
        added = await add_patient(connection, keyring, hospital, caller.account_id, person)
        if added is None:
            raise Problem("patient_exists")
        reference = str(added)
        await once.remember(connection, reference)
    patient_id = int(reference)
    held = await patients_by_id(connection, keyring, hospital, [patient_id])
    if patient_id not in held:
        raise Problem("not_found")  # the first answer's person was erased since
    return _patient(held[patient_id], today)


async def _account(connection: AsyncConnection, context: Context, caller: Caller) -> Account:
    account = await read_account(
        connection, context.keyring, context.hospital_id, caller.account_id
    )
    if account is None:
        raise Problem("session_revoked")  # closed since the access token was issued
    return account


def _preferences(context: Context, account: Account) -> Preferences:
    policy = context.config.policies.messages
    channels = policy.order if account.channels is None else account.channels
    if account.email is None:
        channels = tuple(name for name in channels if name != Channel.EMAIL)
    return Preferences(
        channels=[Channel(name) for name in channels],
        language=Language(account.language or policy.default_language),
        email=account.email,
    )


def _patient(held: HeldPatient, today: date) -> Patient:
    details = held.details
    return Patient(
        id=held.id,
        name=details.name,
        gender=details.gender,
        age=age_on(details.birth_date, today),
        birth_date=details.birth_date,
        id_card=details.id_card,
        phone=details.phone,
        relation=held.relation,
        created_at=held.created_at,
    )
