"""Consultations to talk in: rows alone, without workflows, that nobody else sees.

They are closed again at the end. People are those of the other bench, and doctors of the
department that no list shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from api.tokens import AccessTokens
from cli.bench import stage
from cli.bench.stage import DEPARTMENT, PLACE, Login
from cli.bench.target import Target
from db.account import create_account
from db.catalogue import NewDoctor, create_doctor
from db.consultation import PROGRESS, TERMS, ConsultationRow
from db.consultation.moves import shown_columns
from domain.access import Caller, Role
from domain.consultation import (
    Case,
    ConsultationStatus,
    ConsultationType,
    Progress,
    Terms,
    Urgency,
    VisitKind,
    Way,
)
from domain.order import NumberPrefix, new_number

PATIENTS = 64  # accounts: each may write so much a minute and no more
DOCTORS = 64
LASTS = timedelta(hours=2)  # of the tokens of this run

CLOSE = text(
    """update consultation
          set status = 'completed', ended_at = now(), due_at = null, next_step = null,
              waiting_for = null, progress = jsonb_set(progress, '{status}', '"completed"')
        where department_id = :department and status = 'consulting'"""
)


@dataclass(frozen=True)
class Talk:
    """One consultation, and the tokens of its two sides."""

    id: int
    order_no: str
    patient: str
    doctor: str


async def make_talks(connection: AsyncConnection, target: Target, count: int) -> list[Talk]:
    """So many consultations that are open for messages."""
    config, keyring = target.config, target.keyring
    hospital_id = config.hospital.id
    tokens = AccessTokens(keyring, LASTS)
    logins = await _logins(connection, target, range(PATIENTS))
    persons = await stage.find_persons(connection, keyring, hospital_id, logins, count)
    doctors = await _doctors(connection, target)
    now = datetime.now(UTC)
    talks = []
    for number, person in enumerate(persons):
        doctor = doctors[number % len(doctors)]
        order_no = new_number(NumberPrefix.CONSULTATION, now.date())
        made = await connection.execute(
            insert(ConsultationRow)
            .values(**_row(target, order_no, person, doctor.doctor_id or 0, now))
            .returning(ConsultationRow.id)
        )
        patient = Caller(person.account_id, 0, hospital_id, frozenset({Role.PATIENT}))
        talks.append(Talk(made.scalar_one(), order_no, tokens.issue(patient), tokens.issue(doctor)))
    return talks


async def close_talks(connection: AsyncConnection) -> None:
    await connection.execute(CLOSE, {"department": DEPARTMENT})


def _row(
    target: Target, order_no: str, person: stage.Person, doctor_id: int, now: datetime
) -> dict[str, object]:
    policy = target.config.policies.consultation
    terms = Terms.of(policy, ConsultationType.TEXT, Urgency.NORMAL)
    case = Case(
        order_no=order_no,
        type=ConsultationType.TEXT,
        way=Way.NAMED,
        department_id=DEPARTMENT,
        patient_id=person.id,
        terms=terms,
    )
    progress = Progress(
        pay_by=now,
        status=ConsultationStatus.CONSULTING,
        doctor_id=doctor_id,
        paid_at=now,
        begins_at=now,
        window_ends=now + terms.window,
        answered=True,
    )
    return {
        "hospital_id": target.config.hospital.id,
        "order_no": order_no,
        "account_id": person.account_id,
        "patient_id": person.id,
        "department_id": DEPARTMENT,
        "type": case.type,
        "urgency": Urgency.NORMAL,
        "way": case.way,
        "visit_kind": VisitKind.ADVICE,
        "judged": False,
        "scheduled_at": None,
        "price": Decimal(0),
        "terms": TERMS.dump_python(terms, mode="json"),
        "progress": PROGRESS.dump_python(progress, mode="json"),
        "sealed": b"",
        "attachments": [],
        "created_at": now,
        "started_at": now,
        "answered_at": now,  # so that no first word is promised to a workflow that is not there
        **shown_columns(case, progress),
    }


async def _logins(
    connection: AsyncConnection, target: Target, numbers: Sequence[int]
) -> list[Login]:
    """Accounts that nobody can log in to: this run signs its own tokens."""
    found = []
    for number in numbers:
        phone = f"+8613800091{number:03d}"
        account_id = await create_account(
            connection,
            target.keyring,
            target.config.hospital.id,
            phone=phone,
            name=PLACE,
            password_hash="none",  # noqa: S106
        )
        found.append(Login(account_id, phone, ""))
    return found


async def _doctors(connection: AsyncConnection, target: Target) -> list[Caller]:
    """New ones for each run, like those of the other bench."""
    hospital_id = target.config.hospital.id
    await stage.ensure_department(connection, hospital_id)
    logins = await _logins(connection, target, range(PATIENTS, PATIENTS + DOCTORS))
    found = []
    for login in logins:
        new = NewDoctor(DEPARTMENT, PLACE, "", "chief", PLACE)
        doctor_id = await create_doctor(connection, hospital_id, new)
        await connection.execute(
            text("update doctor set active = false where id = :id"), {"id": doctor_id}
        )
        roles = frozenset({Role.DOCTOR})
        found.append(Caller(login.account_id, 0, hospital_id, roles, doctor_id))
    return found
