"""Who accepted which text for whom, and when. Only ever added to."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Numbered
from domain.consent import ConsentKind, ConsentText, ConsentTexts


class ConsentRow(Numbered, Base):
    __tablename__ = "consent"
    __table_args__ = (
        UniqueConstraint("account_id", "patient_id", "kind", "version"),
        Index("ix_consent_patient", "patient_id", "id"),
    )

    hospital_id: Mapped[int]
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))  # who accepted
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))  # for whom
    kind: Mapped[str]
    version: Mapped[str]
    text_hash: Mapped[bytes]
    at: Mapped[datetime] = mapped_column(server_default=func.now())


@dataclass(frozen=True)
class Consent:
    id: int
    patient_id: int
    kind: ConsentKind
    version: str
    text_hash: bytes
    at: datetime


async def give_consent(
    connection: AsyncConnection,
    hospital_id: int,
    account_id: int,
    patient_id: int,
    text: ConsentText,
) -> int:
    """The consent's id. Accepting a text again is the first acceptance."""
    given = await connection.execute(
        insert(ConsentRow)
        .values(
            hospital_id=hospital_id,
            account_id=account_id,
            patient_id=patient_id,
            kind=text.kind,
            version=text.version,
            text_hash=text.digest,
        )
        .on_conflict_do_nothing(index_elements=["account_id", "patient_id", "kind", "version"])
        .returning(ConsentRow.id)
    )
    if (new := given.scalar()) is not None:
        return int(new)
    c = ConsentRow
    earlier = await connection.execute(
        select(c.id).where(
            c.account_id == account_id,
            c.patient_id == patient_id,
            c.kind == text.kind,
            c.version == text.version,
        )
    )
    return int(earlier.scalar_one())


async def consents_of(
    connection: AsyncConnection,
    account_id: int,
    *,
    id: int | None = None,
    page: int = 1,
    size: int = 1,
) -> tuple[list[Consent], int]:
    """What this account accepted, the newest first, and how many on all pages. `id`: that alone."""
    c = ConsentRow
    mine = c.account_id == account_id
    if id is not None:
        mine &= c.id == id
    rows = await connection.execute(
        select(c.id, c.patient_id, c.kind, c.version, c.text_hash, c.at)
        .where(mine)
        .order_by(c.id.desc())
        .limit(size)
        .offset((page - 1) * size)
    )
    found = [
        Consent(row.id, row.patient_id, ConsentKind(row.kind), row.version, row.text_hash, row.at)
        for row in rows
    ]
    total = await connection.execute(select(func.count()).select_from(ConsentRow).where(mine))
    return found, int(total.scalar_one())


async def has_consented(
    connection: AsyncConnection, account_id: int, patient_id: int, kind: ConsentKind, version: str
) -> bool:
    """Whether the account accepted this very version for this person."""
    c = ConsentRow
    found = await connection.execute(
        select(
            exists().where(
                c.account_id == account_id,
                c.patient_id == patient_id,
                c.kind == kind,
                c.version == version,
            )
        )
    )
    return bool(found.scalar_one())


async def lacking_consents(
    connection: AsyncConnection,
    texts: ConsentTexts,
    account_id: int,
    patient_id: int,
    kinds: Iterable[ConsentKind],
    today: date,
) -> tuple[ConsentText, ...]:
    """Today's texts of these kinds that the account has not accepted for this person. A kind
    without a text asks for nothing."""
    current = [text for kind in kinds if (text := texts.current(kind, today)) is not None]
    return tuple(
        [
            text
            for text in current
            if not await has_consented(connection, account_id, patient_id, text.kind, text.version)
        ]
    )
