"""What a hospital decides about itself: `config/hospital.yaml` as plain values.

The loader in `runtime/config.py` fills these and reports what does not fit, with file and line.
Durations are ISO 8601 (`PT15M`) in the file, `timedelta` here; money is yuan.
"""

from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from enum import StrEnum


class DoctorLevel(StrEnum):
    RESIDENT = "resident"  # 住院医师
    ATTENDING = "attending"  # 主治医师
    CHIEF = "chief"  # 主任医师


class Feature(StrEnum):
    ONLINE_CONSULTATION = "online_consultation"
    APPOINTMENT = "appointment"
    PRESCRIPTION = "prescription"
    HEALTH_RECORD = "health_record"
    REMOTE_CONSULTATION = "remote_consultation"


class Compliance(StrEnum):
    """A profile of rules that only ever tightens what the hospital chose."""

    NONE = "none"
    CN_2022 = "cn-2022"


@dataclass(frozen=True)
class Hospital:
    id: int
    name: str
    address: str
    phone: str
    description: str
    features: frozenset[Feature]
    time_zone: str = "Asia/Shanghai"


@dataclass(frozen=True)
class Department:
    id: int
    name: str
    parent_id: int | None = None


@dataclass(frozen=True)
class LevelPrice:
    level: DoctorLevel
    name: str
    price: Decimal


@dataclass(frozen=True)
class ConsultationPrices:
    """Yuan by doctor level. A level that is not listed is not offered, never free."""

    text: tuple[LevelPrice, ...] = ()
    video: tuple[LevelPrice, ...] = ()
    phone: tuple[LevelPrice, ...] = ()
    emergency: Decimal | None = None


@dataclass(frozen=True)
class ControlDrugs:
    max_days: int = 7
    require_special_audit: bool = True


@dataclass(frozen=True)
class PrescriptionRules:
    max_days: int = 30
    max_drugs: int = 20
    require_audit: bool = True
    audit_type: str = "pharmacist"
    control_drugs: ControlDrugs = ControlDrugs()


@dataclass(frozen=True)
class QuietHours:
    """No reminder goes out between these local times (the span crosses midnight)."""

    start: time = time(22)
    end: time = time(8)


@dataclass(frozen=True)
class AppointmentPolicy:
    """The clinic's promises and limits. What a patient was promised is pinned as `Terms`."""

    payment_window: timedelta = timedelta(minutes=15)
    reminders: tuple[timedelta, ...] = (timedelta(hours=24), timedelta(hours=2))
    quiet_hours: QuietHours = QuietHours()
    check_in_opens: timedelta = timedelta(minutes=30)  # before the slot
    no_show_after: timedelta = timedelta(minutes=30)  # after the slot's start
    cancel_days_before: int = 1  # free until this many days before, at `cancel_until`
    cancel_until: time = time(23, 59)
    late_refund_share: Decimal = Decimal(0)  # 0: a late cancellation is refused
    horizon_days: int = 14
    horizon_opens: time = time(7)  # when the last day of the horizon opens
    open_per_day: int = 2  # open appointments of a person per hospital and day
    offer_window: timedelta = timedelta(minutes=15)  # to pay a source offered to the waitlist
    waitlist_size: int = 50  # how many may be in line for one slot
    choose_within: timedelta = timedelta(hours=24)  # after a stop-clinic, then it is refunded
    suspend_after_no_shows: int = 3
    no_show_period: timedelta = timedelta(days=90)
    suspension: timedelta = timedelta(days=90)


@dataclass(frozen=True)
class ConsultationPolicy:
    """Online consultations. What a patient was promised is pinned as `Terms`. *Live* is phone and
    video."""

    payment_window: timedelta = timedelta(minutes=15)
    accept_text: timedelta = timedelta(hours=24)  # after payment, else refunded
    accept_live: timedelta = timedelta(minutes=30)
    escalate_after: tuple[timedelta, ...] = (timedelta(hours=2), timedelta(hours=12))
    text_window: timedelta = timedelta(hours=48)  # from acceptance
    text_extension: timedelta = timedelta(hours=12)
    live_window: timedelta = timedelta(minutes=30)  # of talk
    live_extension: timedelta = timedelta(minutes=15)
    extensions: int = 2  # by the doctor, at most
    join_within: timedelta = timedelta(minutes=10)  # the doctor, to a video call, else refunded
    leave_grace: timedelta = timedelta(minutes=2)  # both left it: then the doctor is to conclude
    redial_after: timedelta = timedelta(minutes=1)
    redials: int = 2
    ring_for: timedelta = timedelta(seconds=60)  # emergency: then the next doctor is rung too
    dispatch_for: timedelta = timedelta(minutes=10)  # emergency: then refunded
    seen_within: timedelta = timedelta(minutes=2)  # on duty and seen this lately: is rung
    evidence_within: timedelta = timedelta(hours=24)  # to send what the doctor asks for (R03)
    schedule_ahead: timedelta = timedelta(days=14)  # a talk can be arranged this far ahead
    rate_within: timedelta = timedelta(days=15)


@dataclass(frozen=True)
class PaymentPolicy:
    """`channels` are the ways to pay that patients are offered, by their gateways' names. Money
    that came by another way can still be asked for and go back while that gateway is set up."""

    channels: tuple[str, ...] = ("sandbox",)  # sandbox | wechat_native | wechat_jsapi
    settle_grace: timedelta = timedelta(
        minutes=2
    )  # a payment asks the gateway by itself after this
    refund_retry_for: timedelta = timedelta(hours=24)  # then a person is told
    refund_poll: timedelta = timedelta(minutes=1)
    reconcile_at: time = time(10, 30)  # when the day before is compared with the gateways' bills


@dataclass(frozen=True)
class MessagePolicy:
    """`order` is the way a message tries to reach a patient; in-app is always written."""

    order: tuple[str, ...] = ("sms", "email")
    sms: str = "console"  # console | twilio
    email: str = "console"  # console | smtp
    voice: str = "console"  # console | twilio: who bridges phone consultations
    receipt_timeout: timedelta = timedelta(minutes=2)
    default_language: str = "zh"


@dataclass(frozen=True)
class AccountPolicy:
    code_valid: timedelta = timedelta(minutes=5)
    code_resend: timedelta = timedelta(seconds=60)
    code_tries: int = 5
    codes_per_phone_per_day: int = 10
    codes_per_address_per_hour: int = 60
    failed_logins: int = 10
    failed_logins_window: timedelta = timedelta(minutes=15)
    access_token: timedelta = timedelta(minutes=15)
    refresh_token: timedelta = timedelta(days=30)


@dataclass(frozen=True)
class WorkItemPolicy:
    lease: timedelta = timedelta(minutes=15)  # who claims a work item has it this long
    remind_after: timedelta = timedelta(hours=24)  # money undecided this long: operators are told


@dataclass(frozen=True)
class FilePolicy:
    """What people may send, and how long what belongs to no order is kept."""

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000  # width times height
    link_valid: timedelta = timedelta(minutes=10)  # of an address that needs no login
    orphan_after: timedelta = timedelta(hours=24)  # a file that was attached to nothing


@dataclass(frozen=True)
class Policies:
    appointment: AppointmentPolicy = AppointmentPolicy()
    consultation: ConsultationPolicy = ConsultationPolicy()
    payment: PaymentPolicy = PaymentPolicy()
    messages: MessagePolicy = MessagePolicy()
    accounts: AccountPolicy = AccountPolicy()
    work_items: WorkItemPolicy = WorkItemPolicy()
    files: FilePolicy = FilePolicy()


@dataclass(frozen=True)
class HospitalConfig:
    hospital: Hospital
    departments: tuple[Department, ...]
    consultation_prices: ConsultationPrices
    registration_fees: tuple[LevelPrice, ...]
    prescription_rules: PrescriptionRules = PrescriptionRules()
    policies: Policies = field(default_factory=Policies)
    compliance: Compliance = Compliance.NONE
    holidays: tuple[date, ...] = ()  # local days; batch scheduling skips them only when asked

    @property
    def appointment_fees(self) -> tuple[LevelPrice, ...]:
        """For how much which level can be booked: none where appointments are not switched on."""
        return self.registration_fees if Feature.APPOINTMENT in self.hospital.features else ()

    def registration_fee(self, level: DoctorLevel) -> Decimal | None:
        """Yuan, or None when this level takes no appointments."""
        return next((fee.price for fee in self.appointment_fees if fee.level is level), None)

    def consultation_price(self, type: str, level: DoctorLevel) -> Decimal | None:
        """Yuan, or None when it is not offered by this level."""
        prices: tuple[LevelPrice, ...] = getattr(self.consultation_prices, type)
        return next((price.price for price in prices if price.level is level), None)

    def quick_price(self, type: str) -> Decimal | None:
        """Of a department's pool, whose doctor is not known yet: that of the cheapest level, so
        that nobody pays for a title that does not come."""
        prices: tuple[LevelPrice, ...] = getattr(self.consultation_prices, type)
        return min((price.price for price in prices), default=None)
