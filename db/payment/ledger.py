"""The ledger: what came in and what went back, told once each."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

ELSEWHERE = "elsewhere"  # money that went back by other means than the gateway


async def transfer(
    connection: AsyncConnection,
    key: str,
    payment_no: str,
    at: datetime,
    amount: Decimal,
    through: str | None = None,
) -> None:
    """Two entries, once by key: the gateway owes us what we owe the patient. A refund is the
    same transfer with the other sign. `through`: another ledger account than the gateway's."""
    await connection.execute(
        text(
            """with payment as (
                   select hospital_id, channel from payment where payment_no = :payment_no
               ), transfer as (
                   insert into ledger_transfer (hospital_id, key, payment_no, at)
                   select hospital_id, :key, :payment_no, :at from payment
                   on conflict (key) do nothing returning id
               )
               insert into ledger_entry (transfer_id, ledger_account, amount)
               select transfer.id, side.ledger_account, side.amount
                 from transfer, payment,
                      lateral (values (coalesce(:through, 'gateway:' || payment.channel),
                                       cast(:amount as numeric)),
                                      ('patients', -cast(:amount as numeric)))
                      as side (ledger_account, amount)"""
        ),
        {"key": key, "payment_no": payment_no, "at": at, "amount": amount, "through": through},
    )
