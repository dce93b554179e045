"""Messages to patients, doctors and staff (消息通知): which there are, what each must say.

The wording is the hospital's (`config/messages.yaml`); what a wording may and must name is fixed
here. SMS and e-mail pass through strangers' hands, so no placeholder for health content exists
for them: department and doctor can be named in the in-app message only.
"""

import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import Decimal
from enum import StrEnum

from domain.waitlist import LineEnd


class Channel(StrEnum):
    SMS = "sms"
    EMAIL = "email"
    IN_APP = "in_app"


class Language(StrEnum):
    ZH = "zh"
    EN = "en"


class Template(StrEnum):
    SMS_CODE = "sms_code"
    APPOINTMENT_CONFIRMED = "appointment_confirmed"
    APPOINTMENT_OFFERED = "appointment_offered"  # a source came free for the first in line
    APPOINTMENT_RESCHEDULED = "appointment_rescheduled"
    APPOINTMENT_CALLED_OFF = "appointment_called_off"  # the clinic was: another slot or the money
    APPOINTMENT_REMINDER = "appointment_reminder"
    APPOINTMENT_EXTENDED = "appointment_extended"  # an operator moved its deadline
    APPOINTMENT_CANCELLED = "appointment_cancelled"
    APPOINTMENT_CANCELLED_BY_CLINIC = "appointment_cancelled_by_clinic"
    APPOINTMENT_UNPAID_CLOSED = "appointment_unpaid_closed"
    APPOINTMENT_NO_SHOW = "appointment_no_show"
    APPOINTMENT_SUSPENDED = "appointment_suspended"  # booking suspended after no-shows
    APPOINTMENT_CALLED = "appointment_called"  # 叫号: the doctor is waiting
    WAITLIST_ENDED = "waitlist_ended"  # a place in line, without an offer
    CONSULTATION_ACCEPTED = "consultation_accepted"  # a doctor took it on
    CONSULTATION_ANSWERED = "consultation_answered"  # for the first time
    CONSULTATION_EVIDENCE_WANTED = "consultation_evidence_wanted"  # the doctor asks for records
    CONSULTATION_PROLONGED = "consultation_prolonged"  # by the doctor
    CONSULTATION_COMPLETED = "consultation_completed"
    CONSULTATION_CANCELLED = "consultation_cancelled"  # by the patient
    CONSULTATION_REFUNDED = "consultation_refunded"  # it came to nothing
    CONSULTATION_REFERRED = "consultation_referred"  # 转线下: to a physical hospital, and refunded
    CONSULTATION_UNPAID_CLOSED = "consultation_unpaid_closed"
    CONSULTATION_WAITING = "consultation_waiting"  # to the doctor: a patient waits
    CONSULTATION_RING = "consultation_ring"  # to a doctor on duty: an emergency
    CONSULTATION_CONCLUDE = "consultation_conclude"  # to the doctor: both have left the call
    PAYMENT_REFUNDED = "payment_refunded"
    PAYMENT_SETTLED_ELSEWHERE = "payment_settled_elsewhere"  # paid back by other means
    SUSPENSION_LIFTED = "suspension_lifted"  # after an appeal
    SUSPENSION_KEPT = "suspension_kept"
    SUSPENSION_OVER = "suspension_over"  # before anybody decided the appeal
    WORK_ITEM_OPENED = "work_item_opened"  # to staff, and so are those below: it cannot wait
    WORK_ITEM_ESCALATED = "work_item_escalated"
    WORK_ITEM_REASSIGNED = "work_item_reassigned"
    WORK_ITEMS_WAIT = "work_items_wait"  # some wait for too long


Value = str | int | Decimal | date | datetime | LineEnd

KINDS: Mapping[str, type[str | int | Decimal | date]] = {
    "hospital": str,
    "order_no": str,
    "link": str,
    "code": str,
    "minutes": int,
    "starts_at": datetime,
    "due": datetime,
    "until": date,  # a day in the hospital's zone
    "place": str,  # a code on the hospital's map (A3-07), never a department's name
    "number": int,  # 就诊序号
    "amount": Decimal,  # yuan
    "doctor": str,
    "department": str,
    "reason": LineEnd,
    "work_item": str,  # its number
}

HEALTH = frozenset({"doctor", "department"})
"""Placeholders that tell what somebody is treated for. In-app only."""

OPTIONAL = frozenset({"hospital", "order_no", "link"})
"""Any text may name these."""

FACTS: Mapping[Template, frozenset[str]] = {
    Template.SMS_CODE: frozenset({"code", "minutes"}),
    Template.APPOINTMENT_CONFIRMED: frozenset({"starts_at", "place", "number"}),
    Template.APPOINTMENT_OFFERED: frozenset({"starts_at", "due"}),
    Template.APPOINTMENT_RESCHEDULED: frozenset({"starts_at", "place", "number"}),
    Template.APPOINTMENT_CALLED_OFF: frozenset({"starts_at", "due"}),
    Template.APPOINTMENT_REMINDER: frozenset({"starts_at", "place", "number"}),
    Template.APPOINTMENT_EXTENDED: frozenset({"starts_at", "due"}),
    Template.APPOINTMENT_CANCELLED: frozenset({"starts_at"}),
    Template.APPOINTMENT_CANCELLED_BY_CLINIC: frozenset({"starts_at"}),
    Template.APPOINTMENT_UNPAID_CLOSED: frozenset({"starts_at"}),
    Template.APPOINTMENT_NO_SHOW: frozenset({"starts_at"}),
    Template.APPOINTMENT_SUSPENDED: frozenset({"until"}),
    Template.APPOINTMENT_CALLED: frozenset({"starts_at", "place", "number"}),
    Template.WAITLIST_ENDED: frozenset({"starts_at", "reason"}),
    Template.CONSULTATION_ACCEPTED: frozenset(),
    Template.CONSULTATION_ANSWERED: frozenset(),
    Template.CONSULTATION_EVIDENCE_WANTED: frozenset({"due"}),
    Template.CONSULTATION_PROLONGED: frozenset({"due"}),
    Template.CONSULTATION_COMPLETED: frozenset(),
    Template.CONSULTATION_CANCELLED: frozenset(),
    Template.CONSULTATION_REFUNDED: frozenset(),
    Template.CONSULTATION_REFERRED: frozenset(),
    Template.CONSULTATION_UNPAID_CLOSED: frozenset(),
    Template.CONSULTATION_WAITING: frozenset({"due"}),
    Template.CONSULTATION_RING: frozenset({"due"}),
    Template.CONSULTATION_CONCLUDE: frozenset({"due"}),
    Template.PAYMENT_REFUNDED: frozenset({"amount", "order_no"}),
    Template.PAYMENT_SETTLED_ELSEWHERE: frozenset({"amount", "order_no"}),
    Template.SUSPENSION_LIFTED: frozenset(),
    Template.SUSPENSION_KEPT: frozenset({"until"}),
    Template.SUSPENSION_OVER: frozenset(),
    Template.WORK_ITEM_OPENED: frozenset({"work_item"}),
    Template.WORK_ITEM_ESCALATED: frozenset({"work_item"}),
    Template.WORK_ITEM_REASSIGNED: frozenset({"work_item"}),
    Template.WORK_ITEMS_WAIT: frozenset(),
}
"""What must be told: every text of the template names all of these."""


CONSULTATION = frozenset(t for t in Template if t.startswith("consultation_"))
TO_STAFF = frozenset(t for t in Template if t.startswith("work_item"))
OF_REFUND = frozenset({Template.PAYMENT_REFUNDED, Template.PAYMENT_SETTLED_ELSEWHERE})

IN_APP_ONLY = frozenset({Template.APPOINTMENT_CALLED, Template.WORK_ITEM_REASSIGNED})
"""Of use to who is on the spot, or looks at the list anyhow: never by SMS or e-mail."""


def channels_of(template: Template) -> tuple[Channel, ...]:
    """The ways this message may go, each of which has a text."""
    return (Channel.IN_APP,) if template in IN_APP_ONLY else tuple(Channel)


def allowed(template: Template, channel: Channel) -> frozenset[str]:
    """The placeholders a text may name, those of FACTS included."""
    about_a_visit = "starts_at" in FACTS[template] or template in CONSULTATION
    details = HEALTH if channel is Channel.IN_APP and about_a_visit else frozenset[str]()
    return FACTS[template] | OPTIONAL | details


@dataclass(frozen=True)
class Rendered:
    """What is sent. Only e-mail has a subject."""

    subject: str | None
    text: str


@dataclass(frozen=True)
class TextProblem:
    path: tuple[str, ...]
    """Keys down to the faulty text: ("sms_code", "zh", "email", "subject")."""
    message: str


class InvalidTexts(Exception):
    """The hospital's wording breaks a rule; `problems` lists every breach."""

    def __init__(self, problems: Sequence[TextProblem]) -> None:
        super().__init__("\n".join(f"{'.'.join(p.path) or '(top)'}: {p.message}" for p in problems))
        self.problems = tuple(problems)


class WrongParameters(ValueError):
    """A caller's fault: a value is missing, unknown, or not of its kind. Names no value."""


@dataclass(frozen=True)
class MessageTexts:
    """A hospital's wording of every template, its channels and languages; whole and checked."""

    texts: Mapping[tuple[Template, Channel, Language], Rendered]

    @classmethod
    def from_data(cls, data: object) -> "MessageTexts":
        """From nested mappings template → language → {sms, email: {subject, body}, in_app}.

        Raises InvalidTexts: something missing or unknown, a placeholder that is not allowed
        there or a fact not named, an SMS that does not say from whom it is.
        """
        problems: list[TextProblem] = []
        texts = {key: text for key, text in _read(data, problems) if text is not None}
        if problems:
            raise InvalidTexts(problems)
        return cls(texts)

    def render(
        self,
        template: Template,
        channel: Channel,
        language: Language,
        params: Mapping[str, Value],
        zone: tzinfo,
    ) -> Rendered:
        """The text with `params` filled in; instants are told in `zone`, the hospital's.

        The same `params` serve all channels: what a text does not name is left out.
        Raises WrongParameters.
        """
        text = self.texts[template, channel, language]
        unknown = params.keys() - allowed(template, Channel.IN_APP)
        if unknown:
            raise WrongParameters(f"{template} has no {', '.join(sorted(unknown))}")
        names = placeholders(text.text) | placeholders(text.subject or "")
        missing = names - params.keys()
        if missing:
            raise WrongParameters(f"{template} by {channel} needs {', '.join(sorted(missing))}")
        words = {name: _tell(name, params[name], language, zone) for name in names}
        return Rendered(
            subject=None if text.subject is None else text.subject.format_map(words),
            text=text.text.format_map(words),
        )


def next_channel(order: Sequence[Channel], tried: Collection[Channel]) -> Channel | None:
    """The first channel of the patient's order that was not tried, or None when all were."""
    return next((channel for channel in order if channel not in tried), None)


def placeholders(text: str) -> frozenset[str]:
    """The names in braces. Raises ValueError for anything but plain `{name}`:
    attributes, indexes and format specifications would let a wording reach into objects."""
    names = set()
    for _, name, spec, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if spec or conversion or not name.isidentifier():
            raise ValueError(f"{{{name}}} is not a plain placeholder")
        names.add(name)
    return frozenset(names)


# --- how values are told ---

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


_WHY: Mapping[LineEnd, Mapping[Language, str]] = {
    LineEnd.CALLED_OFF: {
        Language.ZH: "该时段停诊",
        Language.EN: "this session does not take place",
    },
    LineEnd.LAPSED: {
        Language.ZH: "按预约规则不能再预约该时段",
        Language.EN: "the booking rules no longer allow this booking",
    },
    LineEnd.BEGUN: {Language.ZH: "该时段已开始", Language.EN: "this session has begun"},
}


def tell_instant(at: datetime, language: Language, zone: tzinfo) -> str:
    """11月23日 09:00, or Mon 23 Nov, 09:00; without the year, for messages about days ahead."""
    local = at.astimezone(zone)
    if language is Language.ZH:
        return f"{local.month}月{local.day}日 {local:%H:%M}"
    return f"{_WEEKDAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]}, {local:%H:%M}"


def tell_day(day: date, language: Language) -> str:
    """2027年2月21日, or 21 Feb 2027."""
    if language is Language.ZH:
        return f"{day.year}年{day.month}月{day.day}日"
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _tell(name: str, value: Value, language: Language, zone: tzinfo) -> str:
    # Exact types: a datetime is a date and a bool is an int, and both would be told wrongly.
    if type(value) is not KINDS[name]:
        raise WrongParameters(f"{name} must be a {KINDS[name].__name__}")
    if isinstance(value, LineEnd):
        return _WHY[value][language]
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise WrongParameters(f"{name} has no time zone")
        return tell_instant(value, language, zone)
    if isinstance(value, date):
        return tell_day(value, language)
    if isinstance(value, Decimal):
        return f"¥{value:.2f}"
    # One line of printable text, so that no value can open a second header or line.
    words = " ".join(str(value).split())
    return "".join(character for character in words if character.isprintable())


# --- reading a hospital's wording ---

_Key = tuple[Template, Channel, Language]


def _read(data: object, problems: list[TextProblem]) -> Iterator[tuple[_Key, Rendered | None]]:
    top = _branch(data, (), tuple(Template), problems)
    for template in Template:
        at_template = (template.value,)
        languages = _branch(top.get(template), at_template, tuple(Language), problems)
        for language in Language:
            path = (*at_template, language.value)
            ways = channels_of(template)
            channels = _branch(languages.get(language), path, ways, problems)
            for channel in ways:
                text = _text(channels.get(channel), (*path, channel.value), channel, problems)
                if text is not None:
                    _check(text, template, channel, language, problems)
                yield (template, channel, language), text


def _branch(
    data: object, path: tuple[str, ...], keys: Sequence[str], problems: list[TextProblem]
) -> Mapping[str, object]:
    if data is None and path:
        return {}  # told as missing one level up
    if not isinstance(data, Mapping):
        problems.append(TextProblem(path, f"expected a mapping with {', '.join(keys)}"))
        return {}
    known = [str(key) for key in keys]
    problems += [TextProblem((*path, key), "missing") for key in known if data.get(key) is None]
    problems += [
        TextProblem((*path, str(key)), f"unknown; expected one of {', '.join(keys)}")
        for key in data
        if key not in known
    ]
    return data


def _text(
    data: object, path: tuple[str, ...], channel: Channel, problems: list[TextProblem]
) -> Rendered | None:
    if data is None:
        return None
    parts: Mapping[str, object] = {"body": data}
    if channel is Channel.EMAIL:
        parts = _branch(data, path, ("subject", "body"), problems)
    subject, body = parts.get("subject"), parts.get("body")
    for part in (subject, body):
        if part is not None and not (isinstance(part, str) and part.strip()):
            problems.append(TextProblem(path, "expected a text"))
            return None
    if not isinstance(body, str) or (channel is Channel.EMAIL and not isinstance(subject, str)):
        return None
    return Rendered(subject.strip() if isinstance(subject, str) else None, body.strip())


def _check(
    text: Rendered,
    template: Template,
    channel: Channel,
    language: Language,
    problems: list[TextProblem],
) -> None:
    path = (template.value, language.value, channel.value)

    def problem(message: str) -> None:
        problems.append(TextProblem(path, message))

    try:
        names = placeholders(text.text) | placeholders(text.subject or "")
    except ValueError as error:
        problem(str(error))
        return
    may = allowed(template, channel)
    for name in sorted(names - may):
        problem(f"{{{name}}} is not allowed here; allowed are {', '.join(sorted(may))}")
    for name in sorted(FACTS[template] - names):
        problem(f"{{{name}}} must be named")
    if "\n" in (text.subject or ""):
        problem("the subject must be one line")
    if channel is Channel.SMS:
        if "\n" in text.text:
            problem("an SMS must be one line")
        # Carriers in China deliver only what opens with the sender's signature (短信签名).
        opening = "【{hospital}】" if language is Language.ZH else "{hospital}: "
        if not text.text.startswith(opening):
            problem(f"an SMS must begin with {opening}")
