"""What is new in many conversations at once: for those who listen."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.conversation.messages import Message, opened
from db.file import File, find_files
from db.keyring import Keyring
from domain.conversation import Cursor

MOST = 100  # messages of one order at once

HEADS = text(
    """select c.hospital_id, c.order_no, c.account_id, c.doctor_id, c.status, c.version, c.reason,
              coalesce(p.read_up_to, 0) as patient_read, coalesce(d.read_up_to, 0) as doctor_read
         from consultation c
         left join consultation_reading p on p.order_no = c.order_no and p.side = 'patient'
         left join consultation_reading d on d.order_no = c.order_no and d.side = 'doctor'
        where c.order_no = any(:order_nos)"""
)
MESSAGES = text(
    """select m.*, k.wrapped
         from unnest(cast(:order_nos as text[]), cast(:afters as bigint[])) as w(order_no, after)
        cross join lateral (
              select * from consultation_message m
               where m.order_no = w.order_no and m.seq > w.after order by m.seq limit :most) as m
         join data_key k on k.id = m.data_key_id
        order by m.order_no, m.seq"""
)


@dataclass(frozen=True)
class Head:
    """Where an order stands, and whom it concerns."""

    hospital_id: int
    order_no: str
    account_id: int
    doctor_id: int | None
    status: str
    version: int
    reason: str
    patient_read: int
    doctor_read: int


@dataclass(frozen=True)
class News:
    """`more`: there are further messages; the head is told after them."""

    head: Head
    messages: tuple[Message, ...]
    files: Mapping[int, File]  # of the messages

    @property
    def more(self) -> bool:
        return len(self.messages) == MOST

    def cursor(self, before: Cursor) -> Cursor:
        seq = self.messages[-1].seq if self.messages else before.seq
        head = self.head
        return Cursor(seq, head.version, head.patient_read, head.doctor_read)


async def news_of(
    connection: AsyncConnection, keyring: Keyring, afters: Mapping[str, int]
) -> dict[str, News]:
    """What came after these messages. The heads are read first: when one says that the order has
    ended, all of its messages are among those read after it."""
    heads = (await connection.execute(HEADS, {"order_nos": list(afters)})).all()
    rows = await connection.execute(
        MESSAGES, {"order_nos": list(afters), "afters": list(afters.values()), "most": MOST}
    )
    by_order: dict[str, list[Message]] = {}
    for message in opened(keyring, rows.all()):
        by_order.setdefault(message.order_no, []).append(message)
    files: dict[int, File] = {}
    ids = [one.file_id for each in by_order.values() for one in each if one.file_id is not None]
    if ids:
        hospital_id = heads[0].hospital_id
        files = {file.id: file for file in await find_files(connection, hospital_id, ids)}
    return {
        head.order_no: News(Head(**head._mapping), tuple(by_order.get(head.order_no, ())), files)
        for head in heads
    }
