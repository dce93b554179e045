"""Appointment (预约挂号) rules. Pure: no clock, no I/O, no Temporal, no SQL."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from domain.access import Capacity
from domain.hospital import AppointmentPolicy
from domain.order import Move


class AppointmentStatus(StrEnum):
    PENDING = "pending"  # 待支付: a source is held, the fee unpaid
    CONFIRMED = "confirmed"  # 已预约
    CHECKED_IN = "checked_in"  # 已签到
    COMPLETED = "completed"  # 已完成
    CANCELLED = "cancelled"  # 已取消
    NO_SHOW = "no_show"  # 未到诊

    @property
    def open(self) -> bool:
        return self in (S.PENDING, S.CONFIRMED, S.CHECKED_IN)


class Reason(StrEnum):
    """Why a move was made. Codes, never free text: what a patient writes stays out of histories."""

    NONE = ""
    PATIENT = "patient"
    LATE = "late"  # the patient cancelled after the free deadline
    CLINIC = "clinic"
    UNPAID = "unpaid"
    MIDNIGHT = "midnight"  # the day ended and nobody completed it
    STOPPED = "stopped"  # the clinic was called off (停诊)
    TERMINATED = "terminated"  # cancelled in Temporal's web UI


C = Capacity
S = AppointmentStatus
CALLED_OFF = "called_off"  # also why a move that supposes a session is not written
MOVES: dict[AppointmentStatus, frozenset[AppointmentStatus]] = {
    S.PENDING: frozenset({S.CONFIRMED, S.CANCELLED}),
    S.CONFIRMED: frozenset({S.CHECKED_IN, S.NO_SHOW, S.CANCELLED}),
    S.CHECKED_IN: frozenset({S.COMPLETED, S.CANCELLED}),
}


@dataclass(frozen=True)
class Terms:
    """What was promised at booking, pinned into the order: a new policy changes new orders only.

    Times of day are the hospital's.
    """

    payment_window: timedelta
    reminders: tuple[timedelta, ...]
    quiet_from: time
    quiet_until: time
    check_in_opens: timedelta
    no_show_after: timedelta
    cancel_days_before: int
    cancel_until: time
    late_refund_share: Decimal

    @classmethod
    def of(cls, policy: AppointmentPolicy) -> "Terms":
        return cls(
            payment_window=policy.payment_window,
            reminders=policy.reminders,
            quiet_from=policy.quiet_hours.start,
            quiet_until=policy.quiet_hours.end,
            check_in_opens=policy.check_in_opens,
            no_show_after=policy.no_show_after,
            cancel_days_before=policy.cancel_days_before,
            cancel_until=policy.cancel_until,
            late_refund_share=policy.late_refund_share,
        )


@dataclass(frozen=True)
class Booking:
    """An order as its workflow knows it: ids, and every instant it was promised, computed once."""

    order_no: str
    doctor_id: int
    department_id: int
    starts_at: datetime
    pay_by: datetime
    cancel_by: datetime  # free of charge before this
    check_in_from: datetime
    no_show_at: datetime
    closes_at: datetime  # midnight after the last moment to check in
    reminders: tuple[datetime, ...]
    late_refund_share: Decimal = Decimal(0)
    schedule_id: int = 0  # 0: of an order begun before this was told


@dataclass(frozen=True)
class AppointmentStart:
    """A booking and how far it is: a workflow that was lost begins again where its row stands."""

    booking: Booking
    status: AppointmentStatus = S.PENDING
    version: int = 0
    payment_no: str | None = None
    offered: bool = False  # to somebody on the waitlist
    choose_by: datetime | None = None  # called off: another slot or the money, until then
    reason: Reason = Reason.NONE  # why it was cancelled
    offer_window: timedelta | None = None  # of an offer: how long there was to be to pay

    @property
    def has_work(self) -> bool:
        """Also a cancelled one: lost before it promised the money back, it does so then."""
        return self.status.open or (self.status is S.CANCELLED and self.payment_no is not None)


def plan(
    order_no: str,
    doctor_id: int,
    department_id: int,
    *,
    starts_at: datetime,
    booked_at: datetime,
    pay_by: datetime,
    terms: Terms,
    zone: ZoneInfo,
    schedule_id: int = 0,
) -> Booking:
    """All instants of an order, from what was promised. Runs outside workflows: zones change."""
    day = starts_at.astimezone(zone).date()
    last_check_in = (starts_at + terms.no_show_after).astimezone(zone).date()
    return Booking(
        order_no=order_no,
        doctor_id=doctor_id,
        department_id=department_id,
        starts_at=starts_at,
        pay_by=pay_by,
        cancel_by=cancel_deadline(day, terms, zone),
        check_in_from=starts_at - terms.check_in_opens,
        no_show_at=starts_at + terms.no_show_after,
        closes_at=_local(last_check_in + timedelta(days=1), time(0), zone),
        reminders=reminder_times(starts_at, booked_at, terms, zone),
        late_refund_share=terms.late_refund_share,
        schedule_id=schedule_id,
    )


def cancel_deadline(day: date, terms: Terms, zone: ZoneInfo) -> datetime:
    """The end of the minute named: cancelling at 23:59:30 is still in time for 23:59."""
    last_day = day - timedelta(days=terms.cancel_days_before)
    return _local(last_day, terms.cancel_until, zone) + timedelta(minutes=1)


def reminder_times(
    starts_at: datetime, booked_at: datetime, terms: Terms, zone: ZoneInfo
) -> tuple[datetime, ...]:
    """The reminders still ahead, in order, none in the quiet hours, none twice."""
    times = {_audible(starts_at - lead, starts_at, terms, zone) for lead in terms.reminders}
    return tuple(sorted(at for at in times if booked_at < at < starts_at))


def _audible(due: datetime, starts_at: datetime, terms: Terms, zone: ZoneInfo) -> datetime:
    """A reminder due in the quiet hours waits for their end, or, when the visit would have begun
    by then, goes an hour before they begin."""
    local = due.astimezone(zone)
    no_quiet_hours = terms.quiet_from == terms.quiet_until
    if no_quiet_hours or terms.quiet_until <= local.time() < terms.quiet_from:
        return due
    evening = local.date() if local.time() >= terms.quiet_from else local.date() - timedelta(days=1)
    morning = _local(evening + timedelta(days=1), terms.quiet_until, zone)
    if morning < starts_at:
        return morning
    return _local(evening, terms.quiet_from, zone) - timedelta(hours=1)


def _local(day: date, at: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, at, tzinfo=zone)


def refusal(
    status: AppointmentStatus,
    to: AppointmentStatus,
    booking: Booking,
    now: datetime,
    by: Capacity | None = None,
    *,
    called_off: bool = False,
) -> str | None:
    """Why a person's move is not allowed (a problem code), or None when it is."""
    if to not in MOVES.get(status, ()):
        return "not_allowed"
    if to is S.CHECKED_IN and called_off:
        return CALLED_OFF
    if to is S.CHECKED_IN and now < booking.check_in_from:
        return "check_in_not_open"
    if to is S.CANCELLED and by is C.OWNER and not called_off:
        if status is S.CHECKED_IN:
            return "not_allowed"
        if status is S.CONFIRMED and now >= booking.cancel_by and not booking.late_refund_share:
            return "late_cancel"
    return None


def reschedule_refusal(
    status: AppointmentStatus,
    booking: Booking,
    now: datetime,
    by: Capacity,
    *,
    called_off: bool = False,
) -> str | None:
    """Why an order cannot take another slot. The patient may until the deadline for cancelling,
    the clinic until the visit; after a stop-clinic both may."""
    if called_off:
        return None if status in (S.CONFIRMED, S.CHECKED_IN) else "not_allowed"
    if status is not S.CONFIRMED:
        return "not_allowed"
    return "late_reschedule" if by is C.OWNER and now >= booking.cancel_by else None


def cancel_reason(
    status: AppointmentStatus,
    booking: Booking,
    now: datetime,
    by: Capacity,
    *,
    called_off: bool = False,
) -> Reason:
    """What a cancellation is called follows from who asks and when, not from what they say."""
    if called_off:
        return Reason.STOPPED
    if by is not C.OWNER:
        return Reason.CLINIC
    late = status is S.CONFIRMED and now >= booking.cancel_by
    return Reason.LATE if late else Reason.PATIENT


def refund_share(reason: Reason, booking: Booking) -> Decimal:
    """Which part of the fee goes back when an order is cancelled for this reason."""
    return booking.late_refund_share if reason is Reason.LATE else Decimal(1)


@dataclass(frozen=True)
class AppointmentMove(Move):
    """A move and what it brings with it, written in one transaction."""

    payment_no: str | None = None
    choose_by: datetime | None = None

    @property
    def supposes_a_session(self) -> bool:
        """The clock alone says so, and would be wrong of a session that was called off."""
        return self.to_status == S.NO_SHOW or self.reason == Reason.MIDNIGHT
