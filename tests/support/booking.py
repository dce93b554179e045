"""A clinic in which things are booked: people, orders, and figures that must agree."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.account import add_patient, create_account
from db.appointment import (
    BookingRules,
    NewAppointment,
    book,
    record_move,
)
from db.base import driver_of
from db.keyring import Keyring
from db.payable import lock_payable
from db.payment import (
    Payment,
    find_refund,
    open_payment,
    owe_refund,
    record_payment,
    record_refund,
    refunds_of,
)
from domain.account import Gender, NewPatient
from domain.appointment import AppointmentMove, AppointmentStatus, Reason
from domain.hospital import AppointmentPolicy, Feature, HospitalConfig, Policies
from domain.order import SYSTEM, Actor, Move, NumberPrefix, new_number
from domain.payment import MoneyTaken, PaymentStatus, RefundCause, RefundStatus
from tests.support.api import id_card
from tests.support.catalogue import a_config, a_doctor, a_slot, load_config

S = AppointmentStatus
RULES = BookingRules.of(a_config())
BORN = date(1990, 3, 7)


def config_with(policy: AppointmentPolicy | None = None, zone: str | None = None) -> HospitalConfig:
    config = replace(a_config(), policies=Policies(appointment=policy or AppointmentPolicy()))
    if zone is not None:
        config = replace(config, hospital=replace(config.hospital, time_zone=zone))
    return config


def without_appointments() -> HospitalConfig:
    config = config_with()
    features = config.hospital.features - {Feature.APPOINTMENT}
    return replace(config, hospital=replace(config.hospital, features=features))


def a_person(number: int = 0, name: str = "林小满") -> NewPatient:
    """Persons of different numbers (below 500) have different ID numbers."""
    card = id_card(BORN, sequence=2 * number)
    return NewPatient(name, Gender.FEMALE, card, f"+86139{number:08d}")


@dataclass
class Clinic:
    """One hospital with one doctor, on one database."""

    engine: AsyncEngine
    keyring: Keyring
    doctor: int
    accounts: int = 0

    @classmethod
    async def opened(cls, engine: AsyncEngine, keyring: Keyring, level: str = "chief") -> "Clinic":
        async with engine.begin() as connection:
            await load_config(connection, a_config())
            return cls(engine, keyring, await a_doctor(connection, level=level))

    async def another_doctor(self, level: str = "chief") -> int:
        async with self.engine.begin() as connection:
            return await a_doctor(connection, level=level)

    async def slot(self, doctor: int | None = None, **how: Any) -> int:
        async with self.engine.begin() as connection:
            return await a_slot(connection, doctor or self.doctor, **how)

    async def account(self, hospital_id: int = 1) -> int:
        self.accounts += 1
        async with self.engine.begin() as connection:
            return await create_account(
                connection,
                self.keyring,
                hospital_id,
                phone=f"+86138{self.accounts:08d}",
                name="林小满",
                password_hash="none",
            )

    async def person(self, account: int, number: int = 0, name: str = "林小满") -> int:
        async with self.engine.begin() as connection:
            added = await add_patient(connection, self.keyring, 1, account, a_person(number, name))
        assert added is not None
        return added

    async def people(self, account: int, count: int) -> Sequence[int]:
        """Many different persons at once; what is sealed in them is nobody's."""
        return await self.ids(
            """insert into patient (hospital_id, account_id, data_key_id, person_index, name_index,
                                    phone_index, sealed, relation)
               select 1, a.id, a.data_key_id, sha256(n::text::bytea), '\\x01', '\\x01', a.sealed,
                      'other'
                 from account a, generate_series(1, :count) as n where a.id = :account
               returning id""",
            account=account,
            count=count,
        )

    async def someone(self, number: int = 0) -> tuple[int, int]:
        """An account with one person: both ids."""
        account = await self.account()
        return account, await self.person(account, number)

    async def book(
        self,
        who: tuple[int, int],
        slot: int,
        *,
        config: HospitalConfig | None = None,
        **changes: Any,
    ) -> tuple[str, str]:
        """(code, order number), as the route does it."""
        new = replace(
            NewAppointment(
                hospital_id=1,
                account_id=who[0],
                schedule_id=slot,
                patient_id=who[1],
                held=True,
                order_no=new_number(NumberPrefix.APPOINTMENT, date(2026, 11, 22)),
                symptoms=None,
                key=None,
                body_hash=None,
            ),
            **changes,
        )
        async with self.engine.begin() as connection:
            rules = BookingRules.of(config or config_with())
            code, order = await book(await driver_of(connection), new, rules)
        return code, "" if order is None else order.order_no

    async def booked(self, who: tuple[int, int], slot: int, **how: Any) -> str:
        code, order_no = await self.book(who, slot, **how)
        assert code == "booked"
        return order_no

    async def move(self, order_no: str, version: int, to: AppointmentStatus, **more: Any) -> None:
        async with self.engine.begin() as connection:
            await record_move(connection, a_move(order_no, version, to, **more), RULES)

    async def suspend(self, order_no: str, days: int = 90) -> int:
        """The person of this order may not book for so long. The suspension's id."""
        (made,) = await self.ids(
            """insert into booking_suspension (hospital_id, person_index, order_no, starts_at,
                                               ends_at)
               select hospital_id, person_index, order_no, now(), now() + make_interval(days => :d)
                 from appointment where order_no = :order_no returning id""",
            order_no=order_no,
            d=days,
        )
        return int(made)

    async def value(self, query: str, **values: Any) -> Any:
        async with self.engine.connect() as connection:
            return (await connection.execute(text(query), values)).scalar_one()

    async def ids(self, query: str, **values: Any) -> Sequence[Any]:
        async with self.engine.begin() as connection:
            return (await connection.execute(text(query), values)).scalars().all()

    async def run(self, statement: str, **values: Any) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text(statement), values)

    async def order(self, order_no: str) -> Any:
        """The row, by column names."""
        async with self.engine.connect() as connection:
            query = text("select * from appointment where order_no = :order_no")
            return (await connection.execute(query, {"order_no": order_no})).one()

    async def figures(self, slot: int) -> tuple[int, int, int]:
        async with self.engine.connect() as connection:
            return await figures(connection, slot)


async def figures(connection: AsyncConnection, slot: int) -> tuple[int, int, int]:
    """Used sources as the schedule counts them, sources held, and open orders: one number."""
    row = await connection.execute(
        text(
            """select used_sources,
                      (select count(*) from source where schedule_id = s.id
                                                     and order_no is not null),
                      (select count(*) from appointment where schedule_id = s.id
                          and status in ('pending', 'confirmed', 'checked_in'))
                 from schedule s where id = :slot"""
        ),
        {"slot": slot},
    )
    used, held, open_ones = row.one()
    return used, held, open_ones


def a_move(
    order_no: str,
    version: int,
    to: AppointmentStatus,
    *,
    at: datetime | None = None,  # None: now
    by: Actor = SYSTEM,
    reason: Reason = Reason.NONE,
    payment_no: str | None = None,
) -> AppointmentMove:
    return AppointmentMove(
        order_no=order_no,
        version=version,
        event=to,
        to_status=to,
        at=at or datetime.now(UTC),
        actor_role=by.role,
        actor_id=by.id,
        reason=reason,
        payment_no=payment_no,
    )


MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


# Money


@dataclass
class Till:
    """What the payment routes and activities do, without a gateway."""

    clinic: Clinic

    async def open(
        self, order_no: str, payment_no: str = "P1", **changes: Any
    ) -> tuple[Payment, bool]:
        async with self.clinic.engine.begin() as connection:
            order = await lock_payable(connection, 1, order_no)
            assert order is not None
            return await open_payment(
                connection,
                hospital_id=1,
                account_id=order.account_id,
                payment_no=payment_no,
                order_no=order_no,
                amount=order.price,
                channel="sandbox",
                expires_at=order.pay_by,
            )

    async def take(
        self,
        payment_no: str = "P1",
        amount: str = "50.00",
        *,
        version: int = 1,
        at: datetime | None = None,
    ) -> None:
        money = MoneyTaken(Decimal(amount), at or datetime.now(UTC), f"T-{payment_no}")
        await self.move(payment_no, version, PaymentStatus.PAID, money)

    async def move(
        self, payment_no: str, version: int, to: PaymentStatus, money: MoneyTaken | None = None
    ) -> None:
        at = datetime.now(UTC)
        async with self.clinic.engine.begin() as connection:
            move = Move(payment_no, version, to, to, at, "gateway")
            await record_payment(connection, move, money)

    async def owe(
        self,
        cause: RefundCause,
        share: str = "1",
        *,
        refund_no: str | None = None,
        payment_no: str = "P1",
    ) -> str | None:
        async with self.clinic.engine.begin() as connection:
            number = refund_no or f"R-{cause}"
            return await owe_refund(connection, payment_no, number, cause, Decimal(share))

    async def end(self, refund_no: str, status: RefundStatus) -> None:
        async with self.clinic.engine.begin() as connection:
            refund = await find_refund(connection, refund_no)
            assert refund is not None
            await record_refund(connection, refund, status, datetime.now(UTC))

    async def refunds(self, payment_no: str = "P1") -> list[tuple[str, str, str]]:
        async with self.clinic.engine.connect() as connection:
            found = await refunds_of(connection, payment_no)
        return [(refund.cause, str(refund.amount), refund.status) for refund in found]

    async def balances(self) -> dict[str, Decimal]:
        async with self.clinic.engine.connect() as connection:
            query = "select ledger_account, sum(amount) as sum from ledger_entry group by 1"
            rows = await connection.execute(text(query))
            return {row.ledger_account: row.sum for row in rows}
