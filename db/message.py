"""Messages to people: what was sent, by which way, and the in-app feed."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, Index, case, func, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered

LISTED_AFTER = timedelta(seconds=30)  # providers show lately what they took, and not at once


class MessageRow(Numbered, Base):
    """One message about one business fact on one channel, at most once by `key`."""

    __tablename__ = "message"
    __table_args__ = (
        Index("ix_message_account", "account_id", "channel", "id"),
        Index("ix_message_provider", "provider_id"),
        Index("ix_message_to", "to_index", "id"),
    )

    hospital_id: Mapped[int]
    key: Mapped[str] = mapped_column(unique=True)  # <orderNo>:<what>:<due>:<channel>
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"))
    channel: Mapped[str]
    template: Mapped[str]
    language: Mapped[str]
    params: Mapped[Fields]  # codes and instants; no name, no number
    data_key_id: Mapped[int] = mapped_column(ForeignKey("data_key.id"))
    sealed: Mapped[bytes]  # {to, subject, text}
    to_index: Mapped[bytes]
    status: Mapped[str]  # claimed | sent | delivered | failed
    attempts: Mapped[int] = mapped_column(server_default="0")
    provider_id: Mapped[str | None]
    receipt_expected: Mapped[bool | None]
    error_code: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The last time that the provider may have taken it; null: it has not, for certain.
    tried_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]
    read_at: Mapped[datetime | None]


@dataclass(frozen=True)
class NewMessage:
    """What is about to be sent. `key` is the business fact and the channel."""

    hospital_id: int
    key: str
    account_id: int | None
    channel: str
    template: str
    language: str
    params: Fields
    data_key_id: int
    sealed: bytes
    to_index: bytes


@dataclass(frozen=True)
class Claim:
    """The right to send a message, and what an earlier attempt left behind."""

    id: int
    first: bool  # nobody tried before
    status: str
    receipt_expected: bool | None
    claimed_at: datetime
    sealed: bytes  # what the first attempt said, and to whom
    wait: timedelta  # until what an earlier attempt sent can be found at the provider; mostly zero


async def claim_message(connection: AsyncConnection, new: NewMessage) -> Claim:
    """Claim before sending, in a transaction of its own: what is sent is never unknown to us.

    A claim made before stands as it was made, whatever `new` would say by now. While the provider's
    list may not show yet what the last attempt sent, there is time to `wait`."""
    m = MessageRow
    lately = m.tried_at > func.now() - LISTED_AFTER
    made = await connection.execute(
        insert(m)
        .values(**vars(new), status="claimed", attempts=1)
        .on_conflict_do_update(
            index_elements=[m.key],
            set_={
                "attempts": m.attempts + 1,
                "tried_at": case((lately, m.tried_at), else_=func.now()),
            },
        )
        .returning(
            m.id, m.attempts, m.status, m.receipt_expected, m.created_at, m.sealed,
            case(
                (m.tried_at < func.now(), m.tried_at + LISTED_AFTER - func.now()),
                else_=timedelta(0),
            ).label("wait"),
        )
    )  # fmt: skip
    row = made.one()
    return Claim(
        row.id,
        row.attempts == 1,
        row.status,
        row.receipt_expected,
        row.created_at,
        row.sealed,
        row.wait,
    )


async def message_not_taken(connection: AsyncConnection, id: int) -> None:
    """The provider has not taken it, for certain: the next attempt need not wait."""
    m = MessageRow
    await connection.execute(
        update(m).where(m.id == id, m.status == "claimed").values(tried_at=None)
    )


async def message_sent(
    connection: AsyncConnection, id: int, provider_id: str, *, receipt_expected: bool
) -> None:
    m = MessageRow
    await connection.execute(
        update(m)
        .where(m.id == id, m.status == "claimed")
        .values(
            status="sent",
            provider_id=provider_id,
            receipt_expected=receipt_expected,
            sent_at=func.now(),
        )
    )


async def message_failed(connection: AsyncConnection, id: int, error_code: str) -> None:
    m = MessageRow
    await connection.execute(
        update(m)
        .where(m.id == id, m.status == "claimed")
        .values(status="failed", error_code=error_code)
    )


async def message_delivered(
    connection: AsyncConnection,
    provider_id: str,
    *,
    key: str | None,
    delivered: bool,
    error_code: str | None,
) -> str | None:
    """What the provider said in the end; the message's key, or None when it is not ours.

    Found by `key` when the receipt carries it: the answer to our sending may have been lost.
    Receipts come in any order and more than once: the first final one stands."""
    row = await connection.execute(
        text(
            """update message set error_code = coalesce(error_code, :error_code),
                   status = case when status in ('claimed', 'sent') then :status else status end
                where case when cast(:key as text) is null then provider_id = :provider_id
                           else key = :key end
            returning key"""
        ),
        {
            "key": key,
            "provider_id": provider_id,
            "status": "delivered" if delivered else "failed",
            "error_code": error_code,
        },
    )
    found: str | None = row.scalars().first()
    return found


@dataclass(frozen=True)
class Recipient:
    """To whom a message goes, and what it may tell. Sealed values stay sealed here."""

    hospital_id: int
    account_id: int
    language: str | None
    channels: list[str] | None
    person_key_id: int  # of the patient, or of the doctor's or staff member's account
    person_key: bytes | None
    person_sealed: bytes  # with a phone
    account_key: bytes | None
    account_sealed: bytes
    order_no: str  # empty where it is about none, and then all that follows about a visit
    starts_at: datetime
    due: datetime  # what the order waits for is due then
    queue_number: int
    location: str
    doctor: str
    department: str
    line_end: str | None  # domain.waitlist.LineEnd, of a place in line


PLACE = "waitlist-"  # and its id: what a message about a place in line is about
OF_APPOINTMENT = """
    select a.hospital_id, a.account_id, a.patient_id, a.order_no, a.starts_at, a.pay_by as due,
           a.queue_number, s.location, d.name as doctor, a.department_id, null as line_end
      from appointment a
      join schedule s on s.id = a.schedule_id
      join doctor d on d.id = a.doctor_id
     where a.order_no = :order_no"""
OF_CONSULTATION = """
    select c.hospital_id, c.account_id, c.patient_id, c.order_no,
           coalesce(c.scheduled_at, c.created_at) as starts_at,
           case when c.window_ends is not null then c.window_ends
                when c.paid_at is null then c.pay_by
                else coalesce((c.progress ->> 'evidence_by')::timestamptz,
                              (c.progress ->> 'accept_by')::timestamptz) end as due,
           0 as queue_number, '' as location, coalesce(d.name, '') as doctor, c.department_id,
           null as line_end
      from consultation c
      left join doctor d on d.id = c.doctor_id
     where c.order_no = :order_no"""
# A place in line has no number: it is known by its id.
OF_PLACE = """
    select w.hospital_id, w.account_id, w.patient_id, '' as order_no, s.starts_at,
           s.starts_at as due, 0 as queue_number, '' as location, d.name as doctor,
           s.department_id,
           case when w.status = 'lapsed' then 'lapsed' when s.withdrawn then 'called_off'
                else 'begun' end as line_end
      from waitlist_entry w
      join schedule s on s.id = w.schedule_id
      join doctor d on d.id = s.doctor_id
     where w.id = :place_id"""
ORDER = f"with o as ({OF_APPOINTMENT} union all {OF_CONSULTATION})"
COLUMNS = """
    o.hospital_id, acc.id as account_id, acc.language, acc.channels, ak.wrapped as account_key,
    acc.sealed as account_sealed, o.order_no, o.starts_at, o.due, o.queue_number, o.location,
    o.doctor, dep.name as department, o.line_end"""
DEPARTMENT = """
    join department dep on dep.hospital_id = o.hospital_id and dep.id = o.department_id"""
PATIENT = f"""select {COLUMNS}, p.data_key_id as person_key_id, pk.wrapped as person_key,
                       p.sealed as person_sealed
          from o {DEPARTMENT}
          join account acc on acc.id = o.account_id
          join data_key ak on ak.id = acc.data_key_id
          join patient p on p.id = o.patient_id
          join data_key pk on pk.id = p.data_key_id"""
THE_PATIENT = text(f"{ORDER} {PATIENT}")
WHO_WAITED = text(f"with o as ({OF_PLACE}) {PATIENT}")
THE_DOCTOR = text(
    f"""{ORDER} select {COLUMNS}, acc.data_key_id as person_key_id, ak.wrapped as person_key,
                       acc.sealed as person_sealed
          from o {DEPARTMENT}
          join doctor d on d.id = :doctor_id and d.hospital_id = o.hospital_id
          join account acc on acc.id = d.account_id
          join data_key ak on ak.id = acc.data_key_id"""
)


# Who does not work here any more is told nothing.
ONE_OF_STAFF = text(
    """select acc.hospital_id, acc.id as account_id, acc.language, acc.channels,
              ak.wrapped as account_key, acc.sealed as account_sealed, '' as order_no,
              now() as starts_at, now() as due, 0 as queue_number, '' as location, '' as doctor,
              '' as department, null as line_end, acc.data_key_id as person_key_id,
              ak.wrapped as person_key, acc.sealed as person_sealed
         from account acc join data_key ak on ak.id = acc.data_key_id
        where acc.id = :account_id and acc.active"""
)


async def find_recipient(
    connection: AsyncConnection, subject: str, doctor_id: int | None = None
) -> Recipient | None:
    """The patient of this order or place in line (`waitlist-<id>`), or the order's doctor."""
    values: dict[str, object] = {"order_no": subject}
    query = THE_PATIENT
    if subject.startswith(PLACE):
        query, values = WHO_WAITED, {"place_id": int(subject.removeprefix(PLACE))}
    elif doctor_id is not None:
        query, values = THE_DOCTOR, {**values, "doctor_id": doctor_id}
    row = (await connection.execute(query, values)).one_or_none()
    return Recipient(**row._mapping) if row else None


async def find_staff(connection: AsyncConnection, account_id: int) -> Recipient | None:
    row = (await connection.execute(ONE_OF_STAFF, {"account_id": account_id})).one_or_none()
    return Recipient(**row._mapping) if row else None


# Reading


@dataclass(frozen=True)
class FeedItem:
    """A message as its reader gets it; the text is sealed."""

    id: int
    channel: str
    template: str
    params: Fields
    created_at: datetime
    read_at: datetime | None
    sealed: bytes
    wrapped: bytes | None


ITEM = "m.id, m.channel, m.template, m.params, m.created_at, m.read_at, m.sealed, k.wrapped"
MINE = "m.account_id = :account_id and m.channel = 'in_app' and k.wrapped is not null"
FEED = text(
    f"""select {ITEM} from message m join data_key k on k.id = m.data_key_id
         where {MINE} order by m.id desc limit :size offset (:page - 1) * :size"""
)
FEED_TOTAL = text(
    f"select count(*) from message m join data_key k on k.id = m.data_key_id where {MINE}"
)
READ = text(
    f"""update message m set read_at = coalesce(m.read_at, now())
         from data_key k where k.id = m.data_key_id and {MINE} and m.id = :id returning {ITEM}"""
)
SENT = text(
    f"""select {ITEM} from message m join data_key k on k.id = m.data_key_id
         where m.hospital_id = :hospital_id and k.wrapped is not null
           and (cast(:to_index as bytea) is null or m.to_index = :to_index)
         order by m.id desc limit 200"""
)


async def read_feed(
    connection: AsyncConnection, account_id: int, page: int, size: int
) -> tuple[list[FeedItem], int]:
    """An account's in-app messages, newest first, and how many there are."""
    values = {"account_id": account_id, "page": page, "size": size}
    rows = await connection.execute(FEED, values)
    total = await connection.scalar(FEED_TOTAL, values)
    return [FeedItem(*row) for row in rows], total or 0


async def mark_read(connection: AsyncConnection, account_id: int, id: int) -> FeedItem | None:
    row = (await connection.execute(READ, {"account_id": account_id, "id": id})).one_or_none()
    return FeedItem(*row) if row else None


async def sent_messages(
    connection: AsyncConnection, hospital_id: int, to_index: bytes | None
) -> list[FeedItem]:
    """What went out on any channel, newest first, at most 200: for the development outbox."""
    values = {"hospital_id": hospital_id, "to_index": to_index}
    return [FeedItem(*row) for row in await connection.execute(SENT, values)]
