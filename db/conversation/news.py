"""What is new in many conversations at once: for those who listen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.conversation.messages import Message, opened
from db.file import File, find_files
from db.keyring import Keyring
from domain.conversation import Cursor

MOST = 100  # messages of one order at once

HEADS = text(
    """select c.hospital_id, c.order_no, c.account_id, c.doctor_id, c.status, c.version, c.reason,
              coalesce(p.read_up_to, 0) as patient_read, coalesce(d.read_up_to, 0) as doctor_read,
              coalesce((select max(m.seq) from consultation_message m
                         where m.order_no = c.order_no), 0) as last
         from consultation c
         left join consultation_reading p on p.order_no = c.order_no and p.side = 'patient'
         left join consultation_reading d on d.order_no = c.order_no and d.side = 'doctor'
        where c.order_no = any(:order_nos)"""
)
MESSAGES = text(
    """select m.*, k.wrapped
         from unnest(
              cast(:order_nos as text[]), cast(:afters as bigint[]), cast(:lasts as bigint[])
              ) as w(order_no, after, last)
        cross join lateral (
              select * from consultation_message m
               where m.order_no = w.order_no and m.seq > w.after and m.seq <= w.last
               order by m.seq limit :most) as m
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
    last: int  # message

    @property
    def cursor(self) -> Cursor:
        """Of whoever has everything."""
        return Cursor(self.last, self.version, self.patient_read, self.doctor_read)


@dataclass(frozen=True)
class News:
    """What came after a message, up to where the head stands, or a part of it."""

    head: Head
    after: int
    messages: tuple[Message, ...] = ()
    files: Mapping[int, File] = field(default_factory=dict)  # of the messages

    @property
    def more(self) -> bool:
        """Whether there are further messages; the head is told after them."""
        return bool(self.messages) and self.messages[-1].seq < self.head.last

    def cursor(self, before: Cursor) -> Cursor:
        """Where this takes who was at `before`."""
        return replace(before, seq=self.messages[-1].seq) if self.more else self.head.cursor


async def news_of(
    connection: AsyncConnection, keyring: Keyring, afters: Mapping[str, int]
) -> dict[str, News]:
    """What came after these messages. The heads are read first, and no message that is newer than
    its order's head: it may be meant for another doctor, and is told with the next one. One that
    says that the order has ended comes with all of its messages."""
    rows = await connection.execute(HEADS, {"order_nos": list(afters)})
    heads = [Head(**row._mapping) for row in rows]
    messages = await _messages(connection, keyring, heads, afters)
    by_order: dict[str, list[Message]] = {}
    for message in messages:
        by_order.setdefault(message.order_no, []).append(message)
    ids = [message.file_id for message in messages if message.file_id is not None]
    files: dict[int, File] = {}
    if ids:
        hospital_id = heads[0].hospital_id
        files = {file.id: file for file in await find_files(connection, hospital_id, ids)}
    found = {}
    for head in heads:
        order_no = head.order_no
        own = tuple(by_order.get(order_no, ()))
        found[order_no] = News(head, afters[order_no], own, files)
    return found


async def _messages(
    connection: AsyncConnection, keyring: Keyring, heads: list[Head], afters: Mapping[str, int]
) -> list[Message]:
    """Most looks find none, and end with the heads."""
    having = [head for head in heads if head.last > afters[head.order_no]]
    if not having:
        return []
    rows = await connection.execute(
        MESSAGES,
        {
            "order_nos": [head.order_no for head in having],
            "afters": [afters[head.order_no] for head in having],
            "lasts": [head.last for head in having],
            "most": MOST,
        },
    )
    return opened(keyring, rows.all())
