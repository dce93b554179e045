"""How a command on a consultation reaches its workflow, with what was written about it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from api.cases import CONSULTATIONS
from api.context import Context
from api.file_refs import attach
from api.idempotency import OnceOnly
from api.orders import Asked
from api.problems import Problem
from api.schemas.consultation import Saying
from db.consultation import PROGRESS, Consultation, NoteKind, write_note
from domain.access import Action, Caller
from workflows.commands import ByDoctor, Written
from workflows.commands import Command as ByPerson


@dataclass(frozen=True)
class Writing:
    """What a person wrote with a command: kept sealed, known to the workflow by its id."""

    kind: NoteKind
    words: dict[str, str]
    files: tuple[int, ...] = ()


Arg = Callable[[ByPerson, int | None], object]  # from who asks, and the note's id


def by_itself(by: ByPerson, note_id: int | None) -> object:
    return replace(by, note_id=note_id)


def with_note(by: ByPerson, note_id: int | None) -> object:
    return Written(by, note_id or 0)


def by_doctor(caller: Caller) -> Arg:
    return lambda by, note_id: ByDoctor(by, caller.doctor_id or 0, note_id)


def reason_of(kind: NoteKind, said: Saying | None) -> Writing | None:
    return Writing(kind, {"reason": said.reason}) if said and said.reason else None


async def command(
    context: Context,
    caller: Caller,
    id: int,
    action: Action,
    update: str,
    once: OnceOnly,
    arg: Arg,
    writing: Writing | None = None,
) -> Any:
    """Ask the consultation's workflow, and answer with the order as it then is."""
    async with context.engine.begin() as connection:
        order, capacity = await CONSULTATIONS.allowed(context, connection, caller, id, action)
        await CONSULTATIONS.note_reading(connection, caller, capacity, order, action)
        asked_before = await once.done_before(connection)
        note_id = None
        if writing and not asked_before:
            if writing.files:
                _refuse_files_nobody_asked_for(order)
            note_id = await _write(context, connection, caller, order, writing)
    by = ByPerson(capacity, caller.account_id)
    asked = Asked(action, update, arg(by, note_id))
    return await CONSULTATIONS.ask(context, caller, order, capacity, asked, once)


def _refuse_files_nobody_asked_for(order: Consultation) -> None:
    """They would belong to the order whatever becomes of the command."""
    if PROGRESS.validate_python(order.progress).evidence_by is None:
        raise Problem("not_allowed", orderStatus=order.status)


async def _write(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    order: Consultation,
    writing: Writing,
) -> int:
    await attach(
        context,
        connection,
        caller,
        writing.files,
        order_no=order.order_no,
        patient_id=order.patient_id,
    )
    key = context.keyring.unwrap(order.patient_key)
    return await write_note(
        connection,
        hospital_id=order.hospital_id,
        order_no=order.order_no,
        kind=writing.kind,
        account_id=caller.account_id,
        sealed=key.seal(writing.words),
        files=writing.files,
    )
