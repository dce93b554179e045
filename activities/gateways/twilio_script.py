"""What Twilio is told to do with a call, step by step (TwiML), and what the phones hear."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from twilio.twiml.voice_response import Dial, Gather, VoiceResponse

from activities.gateways.twilio_voice import CallAddresses
from activities.gateways.voice import RING_FOR

KEY_WITHIN: Final = 10  # seconds after the words

# Whoever picks up may not be who was meant: the hospital's name and no more.

ASK_DOCTOR: Final = (
    ("zh-CN", "您好，这里是{hospital}。您有一个电话问诊，请按任意键接通患者。"),
    ("en-US", "This is {hospital}. Press any key to be connected with your patient."),
)
ASK_PATIENT: Final = (
    ("zh-CN", "您好，这里是{hospital}。请按任意键接听。"),
    ("en-US", "This is {hospital}. Press any key to take the call."),
)
NOT_REACHED: Final = (
    ("zh-CN", "暂时无法接通对方，再见。"),
    ("en-US", "The other side could not be reached. Goodbye."),
)


@dataclass(frozen=True)
class CallScript:
    """The TwiML of a call, step by step."""

    hospital: str
    number: str  # the hospital's
    addresses: CallAddresses

    def ask_doctor(self, call_no: str) -> str:
        return self._ask(ASK_DOCTOR, self.addresses.doctor_joined(call_no))

    def ask_patient(self, call_no: str) -> str:
        """Only the patient hears this; the doctor hears it ring."""
        return self._ask(ASK_PATIENT, self.addresses.patient_joined(call_no))

    def ring_patient(self, call_no: str, phone: str, time_limit: timedelta) -> str:
        dial = Dial(
            action=self.addresses.bridged(call_no),
            answer_on_bridge=True,
            caller_id=self.number,
            timeout=_seconds(RING_FOR),
            time_limit=_seconds(time_limit),
        )
        dial.number(
            phone,
            url=self.addresses.patient(call_no),
            status_callback=self.addresses.patient_status(call_no),
            status_callback_event="completed",
        )
        return _said(VoiceResponse(), dial)

    def connect(self) -> str:
        """The end of the words to the patient is the beginning of the talk."""
        return _said(VoiceResponse())

    def hang_up(self) -> str:
        answer = VoiceResponse()
        answer.hangup()
        return _said(answer)

    def not_reached(self) -> str:
        answer = VoiceResponse()
        self._say(answer, NOT_REACHED)
        answer.hangup()
        return _said(answer)

    def _ask(self, words: tuple[tuple[str, str], ...], then: str) -> str:
        # Every key counts, also the one that would otherwise end the input.
        gather = Gather(
            action=then, input="dtmf", num_digits=1, finish_on_key="", timeout=KEY_WITHIN
        )
        self._say(gather, words)
        answer = VoiceResponse()
        answer.append(gather)
        answer.hangup()
        return _said(answer)

    def _say(self, into: Any, words: tuple[tuple[str, str], ...]) -> None:
        for language, text in words:
            into.say(text.format(hospital=self.hospital), language=language)


def _said(answer: VoiceResponse, *verbs: Any) -> str:
    for verb in verbs:
        answer.append(verb)
    return str(answer)


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())
