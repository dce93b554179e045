"""The hospital's rules as the SQL functions take them: made once a process, not per booking."""

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from db.appointment.starts import TERMS
from domain.appointment import Terms
from domain.hospital import AppointmentPolicy, HospitalConfig
from domain.order import NumberPrefix, new_number


@dataclass(frozen=True)
class NoShowRule:
    suspend_after: int
    period: timedelta
    suspension: timedelta

    @classmethod
    def of(cls, policy: AppointmentPolicy) -> "NoShowRule":
        return cls(policy.suspend_after_no_shows, policy.no_show_period, policy.suspension)


@dataclass(frozen=True)
class BookingRules:
    fees: str  # yuan by doctor level, JSON
    terms: str
    rules: str
    zone: ZoneInfo
    no_shows: NoShowRule

    @classmethod
    def of(cls, config: HospitalConfig) -> "BookingRules":
        policy = config.policies.appointment
        rules = {
            "time_zone": config.hospital.time_zone,
            "horizon_days": policy.horizon_days,
            "horizon_opens": policy.horizon_opens.isoformat(),
            "open_per_day": policy.open_per_day,
            "payment_window": f"{policy.payment_window.total_seconds()} seconds",
            "offer_window": f"{policy.offer_window.total_seconds()} seconds",
            "waitlist_size": policy.waitlist_size,
        }
        return cls(
            fees=json.dumps({fee.level: str(fee.price) for fee in config.appointment_fees}),
            terms=TERMS.dump_json(Terms.of(policy)).decode(),
            rules=json.dumps(rules),
            zone=ZoneInfo(config.hospital.time_zone),
            no_shows=NoShowRule.of(policy),
        )

    @property
    def offer(self) -> str:
        """What an order for the next in line is made of, JSON."""
        return f'{{"fees": {self.fees}, "terms": {self.terms}, "rules": {self.rules}}}'

    def new_order_no(self) -> str:
        return new_number(NumberPrefix.APPOINTMENT, self.today())

    def today(self) -> date:
        return datetime.now(self.zone).date()
