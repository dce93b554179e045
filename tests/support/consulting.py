"""Consultations of a clinic, as the routes and the workflow write them, without either."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from db.account.data_keys import sealing_key_of_patient
from db.consultation import (
    Consultation,
    ConsultationFilter,
    NewConsultation,
    NoteKind,
    create_consultation,
    find_consultation_by_number,
    list_consultations,
    load_consultations,
    record_move,
    write_note,
)
from db.keyring import DataKey
from domain.consultation import (
    Case,
    ConsultationMove,
    ConsultationStatus,
    ConsultationType,
    Progress,
    Terms,
    Urgency,
    VisitKind,
    Way,
)
from domain.consultation.changes import accepted, paid
from domain.hospital import ConsultationPolicy
from domain.order import SYSTEM, Actor, NumberPrefix, new_number
from tests.support.booking import Clinic

TYPES, WAYS = ConsultationType, Way
WORDS = {
    "complaint": "头痛两天",
    "description": "左侧明显",
    "symptoms": ["头痛"],
    "duration": 2,
}
SAID = {"diagnosis": "紧张性头痛", "advice": "规律作息"}


def a_case(
    type: ConsultationType = TYPES.TEXT,
    way: Way = WAYS.NAMED,
    *,
    policy: ConsultationPolicy | None = None,
    **changes: Any,
) -> Case:
    urgency = Urgency.EMERGENCY if way is WAYS.EMERGENCY else Urgency.NORMAL
    case = Case(
        order_no="C261122AAAAAAAAAAAA",
        type=type,
        way=way,
        department_id=11,
        patient_id=1,
        terms=Terms.of(policy or ConsultationPolicy(), type, urgency),
    )
    return replace(case, **changes)


@dataclass
class Practice:
    """A clinic whose patients ask online."""

    clinic: Clinic

    async def ask(
        self,
        who: tuple[int, int],
        type: ConsultationType = TYPES.TEXT,
        way: Way = WAYS.NAMED,
        *,
        now: datetime | None = None,
        doctor_id: int | None = None,
        **changes: Any,
    ) -> str:
        """The number of an unpaid order."""
        account, person = who
        now = now or datetime.now(UTC)
        number = new_number(NumberPrefix.CONSULTATION, date(2026, 11, 22))
        case = a_case(type, way, **{"order_no": number, "patient_id": person, **changes})
        named = doctor_id or (self.clinic.doctor if way is WAYS.NAMED else None)
        new = NewConsultation(
            hospital_id=1,
            account_id=account,
            case=case,
            progress=Progress(pay_by=now + case.terms.payment_window, doctor_id=named),
            urgency=Urgency.EMERGENCY if way is WAYS.EMERGENCY else Urgency.NORMAL,
            visit_kind=VisitKind.ADVICE,
            price=Decimal("99.90"),
            sealed=(await self.key(who)).seal(WORDS),
            attachments=(),
            created_at=now,
        )
        async with self.clinic.engine.begin() as connection:
            await create_consultation(connection, new)
        return number

    async def move(
        self,
        order_no: str,
        event: str = "moved",
        *,
        at: datetime | None = None,
        by: Actor = SYSTEM,
        note_id: int | None = None,
        version: int | None = None,
        **changes: Any,
    ) -> bool:
        """The next move, or one of another version: whether it was news."""
        return await self.write(
            await self.a_move(
                order_no, event, at=at, by=by, note_id=note_id, version=version, **changes
            )
        )

    async def a_move(
        self,
        order_no: str,
        event: str = "moved",
        *,
        at: datetime | None = None,
        by: Actor = SYSTEM,
        note_id: int | None = None,
        version: int | None = None,
        **changes: Any,
    ) -> ConsultationMove:
        before = (await self.start(order_no))[1]
        after = replace(before, **{"version": version or before.version + 1, **changes})
        return ConsultationMove(
            order_no=order_no,
            version=after.version,
            event=event,
            from_status=before.status,
            to_status=after.status,
            at=at or datetime.now(UTC),
            actor_role=by.role,
            actor_id=by.id,
            reason=after.reason,
            progress=after,
            note_id=note_id,
        )

    async def write(self, move: ConsultationMove) -> bool:
        async with self.clinic.engine.begin() as connection:
            return await record_move(connection, move)

    async def pay(self, order_no: str, at: datetime | None = None, no: str | None = "P1") -> None:
        at = at or datetime.now(UTC)
        case, _ = await self.start(order_no)
        await self.move(order_no, "paid", at=at, **paid(case, no, at))

    async def accept(
        self, order_no: str, at: datetime | None = None, doctor_id: int | None = None
    ) -> None:
        at = at or datetime.now(UTC)
        case, _ = await self.start(order_no)
        taken = accepted(case, doctor_id or self.clinic.doctor, 12, at)
        await self.move(order_no, "accept", at=at, **taken)

    async def completed(self, who: tuple[int, int], at: datetime | None = None) -> str:
        at = at or datetime.now(UTC)
        number = await self.ask(who)
        await self.pay(number, at)
        await self.accept(number, at)
        await self.move(number, "complete", at=at, status=ConsultationStatus.COMPLETED)
        return number

    async def note(
        self,
        who: tuple[int, int],
        order_no: str,
        kind: NoteKind = NoteKind.CONCLUSION,
        words: Any = None,
    ) -> int:
        sealed = (await self.key(who)).seal(words or SAID)
        async with self.clinic.engine.begin() as connection:
            return await write_note(
                connection,
                hospital_id=1,
                order_no=order_no,
                kind=kind,
                account_id=who[0],
                sealed=sealed,
            )

    async def key(self, who: tuple[int, int]) -> DataKey:
        async with self.clinic.engine.begin() as connection:
            found = await sealing_key_of_patient(connection, self.clinic.keyring, *who)
        assert found is not None
        return found.key

    async def start(self, order_no: str) -> tuple[Case, Progress]:
        """What a workflow would be told now."""
        async with self.clinic.engine.connect() as connection:
            [start] = (await load_consultations(connection, [order_no])).values()
        return start.case, start.progress

    async def order(self, order_no: str) -> Consultation:
        async with self.clinic.engine.connect() as connection:
            found = await find_consultation_by_number(connection, 1, order_no)
        assert found is not None
        return found

    async def queue(self, doctor_id: int | None = None) -> Sequence[str]:
        """The numbers of what this doctor could accept."""
        doctor = doctor_id or self.clinic.doctor
        wanted = ConsultationFilter(1, 0, None, doctor, None, 1, 20, queue=True)
        async with self.clinic.engine.connect() as connection:
            orders, total = await list_consultations(connection, wanted)
        assert total == len(orders)
        return [order.order_no for order in orders]

    async def doctor_with_phone(self, department_id: int = 11) -> tuple[int, int]:
        """A doctor who can log in: ids of the doctor and of the account."""
        doctor, account = await self.clinic.another_doctor(), await self.clinic.account()
        async with self.clinic.engine.begin() as connection:
            await connection.execute(
                text("update doctor set account_id = :a, department_id = :p where id = :d"),
                {"a": account, "d": doctor, "p": department_id},
            )
        return doctor, account
