"""A conversation and its two sides: who may take part, and how its messages look to each."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from api.commands import allow
from api.context import Context
from api.files import view
from api.problems import Problem
from api.schemas import conversation as wire
from db.conversation import Message, Talk, find_talk
from db.file import File, find_files
from db.journal import log_access
from domain.access import CONSULTATION, Action, Caller, Stake
from domain.consultation import ConsultationStatus
from domain.conversation import Side

READ = ("not_authenticated", "forbidden", "not_found")


async def talk_of(
    context: Context, connection: AsyncConnection, caller: Caller, id: int, *, lock: bool = False
) -> tuple[Talk, Side]:
    """The two sides read and write, and nobody else."""
    talk = await find_talk(connection, context.hospital_id, id, lock=lock)
    if talk is None:
        raise Problem("not_found")
    capacity = allow(caller, CONSULTATION, Action.WRITE, Stake(talk.account_id, talk.doctor_id))
    return talk, Side.of(capacity)


def ensure_consulting(talk: Talk) -> None:
    if talk.status != ConsultationStatus.CONSULTING:
        raise Problem("not_allowed", orderStatus=talk.status)


async def leave_trace(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    talk: Talk,
    side: Side,
    action: str,
) -> None:
    if side is Side.DOCTOR:
        await log_access(
            connection,
            context.hospital_id,
            actor_role=side,
            actor_id=caller.account_id,
            patient_id=talk.patient_id,
            object=f"consultation/{talk.order_no}",
            action=action,
        )


async def files_of(
    context: Context, connection: AsyncConnection, messages: list[Message]
) -> Mapping[int, File]:
    ids = [message.file_id for message in messages if message.file_id is not None]
    if not ids:
        return {}
    return {file.id: file for file in await find_files(connection, context.hospital_id, ids)}


def shown(
    context: Context, caller: Caller, message: Message, files: Mapping[int, File]
) -> wire.Message:
    """With an address of its picture that this caller alone was given."""
    file = files.get(message.file_id) if message.file_id is not None else None
    return wire.Message(
        id=message.id,
        seq=message.seq,
        sender=message.side,
        mine=message.account_id == caller.account_id,
        type=message.type,
        content=message.content,
        file=view(context, caller, file) if file else None,
        at=message.created_at,
    )
