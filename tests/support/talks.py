"""Consultations that are being talked in, and listeners to them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI
from sqlalchemy import text

from api.context import Context
from db.account import sealing_key_of_patient
from db.consultation import NewConsultation, create_consultation, record_move
from db.conversation import NewMessage, find_talk, write_message
from domain.access import Role
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
from domain.conversation import MessageType, Side
from domain.hospital import ConsultationPolicy
from domain.order import NumberPrefix, new_number
from tests.support.api import as_caller
from tests.support.booking import Clinic

S = ConsultationStatus


@dataclass
class Conversation:
    """One consultation, its patient's account, its doctor."""

    clinic: Clinic
    id: int
    order_no: str
    account: int
    patient: int
    doctor: int
    doctor_account: int
    case: Case
    progress: Progress

    @classmethod
    async def begun(
        cls, clinic: Clinic, status: ConsultationStatus = S.CONSULTING, number: int = 0
    ) -> "Conversation":
        account, patient = await clinic.someone(number)
        now = datetime.now(UTC)
        terms = Terms.of(ConsultationPolicy(), ConsultationType.TEXT, Urgency.NORMAL)
        order_no = new_number(NumberPrefix.CONSULTATION, now.date())
        case = Case(order_no, ConsultationType.TEXT, Way.NAMED, 11, patient, terms)
        progress = Progress(
            pay_by=now,
            status=status,
            version=2,
            doctor_id=clinic.doctor,
            paid_at=now,
            accept_by=now + timedelta(hours=1),
            begins_at=now,
            window_ends=now + timedelta(hours=48),
        )
        async with clinic.engine.begin() as connection:
            key = await sealing_key_of_patient(connection, clinic.keyring, account, patient)
            assert key is not None
            made = await create_consultation(
                connection,
                NewConsultation(
                    hospital_id=1, account_id=account, case=case,
                    progress=progress, urgency=Urgency.NORMAL, visit_kind=VisitKind.ADVICE,
                    price=Decimal(20), sealed=key.key.seal({}), attachments=(),
                    created_at=now,
                ),
            )  # fmt: skip
            await connection.execute(text("delete from outbox"))
            doctor_account = await connection.scalar(
                text("select coalesce(account_id, 0) from doctor where id = :id"),
                {"id": clinic.doctor},
            )
        if not doctor_account:
            doctor_account = await clinic.account()
        return cls(
            clinic, made, order_no, account, patient, clinic.doctor, doctor_account, case, progress
        )

    @property
    def path(self) -> str:
        return f"/consultations/{self.id}"

    def patients(self, context: Context) -> dict[str, str]:
        return as_caller(context, self.account, Role.PATIENT)

    def doctors(self, context: Context) -> dict[str, str]:
        return as_caller(context, self.doctor_account, Role.DOCTOR, doctor_id=self.doctor)

    async def becomes(
        self, event: str = "changed", at: datetime | None = None, **changed: Any
    ) -> None:
        """As its workflow writes it."""
        self.progress = replace(self.progress, version=self.progress.version + 1, **changed)
        p = self.progress
        move = ConsultationMove(
            self.order_no, p.version, event, p.status, at or datetime.now(UTC), "system", None,
            progress=p,
        )  # fmt: skip
        async with self.clinic.engine.begin() as connection:
            await record_move(connection, move)

    async def write(self, side: Side, content: str) -> int:
        async with self.clinic.engine.begin() as connection:
            talk = await find_talk(connection, 1, self.id, lock=True)
            assert talk is not None
            account = self.account if side is Side.PATIENT else self.doctor_account
            new = NewMessage(side, account, MessageType.TEXT, content)
            return await write_message(connection, self.clinic.keyring, talk, new)


@dataclass
class Told:
    """One event."""

    event: str
    data: Any
    id: str | None


@dataclass
class Stream:
    """What a browser's EventSource would hear."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    takes: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: it reads no further
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _read: int = 0

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.takes.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.ended = not message.get("more_body", False)
        self._news.set()

    def events(self) -> list[Told]:
        return [
            told
            for block in bytes(self.body).split(b"\n\n")[:-1]
            if (told := _told(block.decode()))
        ]

    async def next(self, event: str | None = None) -> Told:
        """The next event (of this name). TimeoutError when it does not come."""
        async with asyncio.timeout(20):
            return await self._next(event)

    async def _next(self, event: str | None) -> Told:
        while True:
            await self.opened()
            for told in self.events()[self._read :]:
                self._read += 1
                if event in (None, told.event):
                    return told
            if self.ended:
                raise EOFError
            self._news.clear()
            await self._news.wait()

    async def opened(self) -> None:
        while not self.status:
            self._news.clear()
            await self._news.wait()

    async def until_ended(self) -> list[Told]:
        async with asyncio.timeout(20):
            while not self.ended:
                self._news.clear()
                await self._news.wait()
        return self.events()

    def document(self) -> Any:
        return json.loads(bytes(self.body))


def _told(block: str) -> Told | None:
    fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
    if not fields:
        return None
    return Told(fields["event"], json.loads(fields["data"]), fields.get("id"))


@asynccontextmanager
async def listening(
    app: FastAPI, path: str, headers: Mapping[str, str] | None = None, **query: str
) -> AsyncIterator[Stream]:
    """A GET whose answer goes on. The client goes away at the end of the block."""
    stream, gone, asked = Stream(), asyncio.Event(), False
    stream.takes.set()

    async def receive() -> Mapping[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "GET",
        "http_version": "1.1", "scheme": "http", "path": f"/api/hospital{path}",
        "raw_path": path.encode(), "query_string": urlencode(query).encode(), "root_path": "",
        "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
        "client": ("203.0.113.7", 4321), "server": ("hospital.test", 80), "state": {},
    }  # fmt: skip
    call = asyncio.create_task(app(scope, receive, stream.send))
    try:
        yield stream
    finally:
        gone.set()
        stream.takes.set()
        async with asyncio.timeout(5):
            await call
