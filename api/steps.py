"""What happens next by itself, to a work item or an order, in a sentence."""

from datetime import datetime
from zoneinfo import ZoneInfo

from domain.access import Role
from domain.message import Language, tell_instant
from domain.work_item import NextStep, Step, WorkItem, WorkItemStatus

ROLES: dict[Role, str] = {
    Role.DOCTOR: "医生",
    Role.CHIEF_PHARMACIST: "主任药师",
    Role.PHARMACIST: "药师",
    Role.NURSE: "护士",
    Role.OPERATOR: "运营人员",
}
SENTENCES: dict[Step, dict[Language, str]] = {
    Step.LEASE_OVER: {
        Language.ZH: "{at} 仍未决定,同岗位的其他人可领取。",
        Language.EN: "Undecided at {at}, anybody of the role may claim it.",
    },
    Step.ESCALATE: {
        Language.ZH: "{at} 仍未决定,将升级至{whom}。",
        Language.EN: "Undecided at {at}, it is escalated to the {whom}.",
    },
    Step.EXPIRE: {
        Language.ZH: "{at} 仍未决定,将自动关闭{code}。",
        Language.EN: "Undecided at {at}, it expires{code}.",
    },
}
# To an order: `db.waiting` says which, and when.
ORDERS: dict[str, dict[Language, str]] = {
    "release": {
        Language.ZH: "{at} 仍未支付,号源释放。",
        Language.EN: "Unpaid at {at}, the source is released.",
    },
    "no_show": {
        Language.ZH: "{at} 仍未签到,记为未到诊。",
        Language.EN: "Not checked in by {at}, it becomes a no-show.",
    },
    "complete": {
        Language.ZH: "{at} 自动完成。",
        Language.EN: "Still open at {at}, it is completed.",
    },
    "refund": {
        Language.ZH: "{at} 仍未选择,取消并全额退款。",
        Language.EN: "Without a choice by {at}, it is cancelled and refunded.",
    },
    "resume": {
        Language.ZH: "{at} 自动继续通知患者。",
        Language.EN: "Still paused at {at}, it goes on telling patients.",
    },
    "settle": {
        Language.ZH: "{at} 向支付渠道查询,未付则关闭。",
        Language.EN: "At {at} the gateway is asked; unpaid, it is closed.",
    },
    "close_unpaid": {
        Language.ZH: "{at} 仍未支付,订单取消。",
        Language.EN: "Unpaid at {at}, it is cancelled.",
    },
    "ring": {Language.ZH: "{at} 呼叫下一位医生。", Language.EN: "At {at} the next doctor is rung."},
    "remind_doctor": {
        Language.ZH: "{at} 仍未接诊,提醒医生。",
        Language.EN: "Not accepted by {at}, the doctor is reminded.",
    },
    "give_up_evidence": {
        Language.ZH: "{at} 仍未补充资料,全额退款。",
        Language.EN: "Without the records by {at}, it is refunded.",
    },
    "give_up_waiting": {
        Language.ZH: "{at} 仍未接诊,全额退款。",
        Language.EN: "Not accepted by {at}, it is refunded.",
    },
    "doctor_absent": {
        Language.ZH: "{at} 医生仍未进入视频,全额退款。",
        Language.EN: "If the doctor has not joined by {at}, it is refunded.",
    },
    "ask_to_conclude": {
        Language.ZH: "{at} 提醒医生填写诊断和医嘱。",
        Language.EN: "At {at} the doctor is asked to conclude.",
    },
    "redial": {Language.ZH: "{at} 再次拨打。", Language.EN: "At {at} it is dialled again."},
    "settle_call": {
        Language.ZH: "{at} 向电话服务商查询通话结果。",
        Language.EN: "At {at} the phone company is asked how the call ended.",
    },
    "end_window": {
        Language.ZH: "{at} 问诊时间结束;医生未答复则全额退款。",
        Language.EN: "At {at} its time is over; refunded if the doctor never answered.",
    },
    "work_item": {
        Language.ZH: "{at} 仍未到账,转人工处理。",
        Language.EN: "Not final by {at}, it becomes a work item.",
    },
}
NOTHING = {Language.ZH: "不会自动处理。", Language.EN: "Nothing happens by itself."}
OVER = {Language.ZH: "已结束。", Language.EN: "It is over."}


def in_words(
    step: NextStep | None,
    item: WorkItem,
    status: WorkItemStatus,
    language: Language,
    zone: ZoneInfo,
) -> str:
    """Instants are told in `zone`, the hospital's."""
    if not status.open:
        return OVER[language]
    if step is None:
        return NOTHING[language]
    return SENTENCES[step.step][language].format(
        at=tell_instant(step.at, language, zone),
        whom=_role(item.escalates_to, language),
        code=_code(item.at_deadline, language),
    )


def of_order(step: str, at: datetime, language: Language, zone: ZoneInfo) -> str:
    return ORDERS[step][language].format(at=tell_instant(at, language, zone))


def _role(role: Role | None, language: Language) -> str:
    if role is None:
        return ""
    return ROLES[role] if language is Language.ZH else role.replace("_", " ")


def _code(code: str, language: Language) -> str:
    if not code:
        return ""
    return f"({code})" if language is Language.ZH else f" as {code}"
