"""Refusals as RFC 9457 problem documents. `code` is the stable word; `detail` is for people.

A route raises `Problem("slot_full")`; status and texts stand in the table below, once.
"""

import re
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from domain.law import RULE_OF

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    status: int
    zh: str
    en: str


KINDS: dict[str, Kind] = {
    # Who is asking
    "not_authenticated": Kind(401, "请先登录。", "Log in first."),
    "token_expired": Kind(401, "登录已过期,请刷新。", "The access token has expired; refresh it."),
    "session_revoked": Kind(401, "登录已失效,请重新登录。", "This login has ended; log in again."),
    "bad_credentials": Kind(
        401, "手机号、密码或验证码不正确。", "Phone, password or code is wrong."
    ),
    "token_reused": Kind(
        401,
        "刷新令牌被重复使用,登录已终止。",
        "This refresh token was used before; the login has been ended.",
    ),
    "bad_signature": Kind(401, "签名无效。", "The signature does not verify."),
    "link_expired": Kind(401, "链接已过期。", "This link has expired; ask for a new one."),
    "forbidden": Kind(403, "无权执行此操作。", "Your role may not do this."),
    "not_found": Kind(404, "未找到。", "There is nothing here for you."),
    "method_not_allowed": Kind(405, "不支持的方法。", "This path does not take that method."),
    # What was sent
    "invalid": Kind(422, "提交的内容有误。", "Some fields are wrong; see errors."),
    "malformed": Kind(400, "请求无法解析。", "The request cannot be read."),
    "too_large": Kind(413, "请求内容过大。", "The body is larger than allowed."),
    "file_too_large": Kind(413, "文件过大。", "The file is larger than allowed."),
    "unsupported_file": Kind(
        415, "不支持的文件类型。", "JPEG, PNG, WebP and HEIC pictures and plain PDFs are taken."
    ),
    "broken_file": Kind(422, "文件已损坏。", "The file cannot be read."),
    "image_too_large": Kind(422, "图片像素过多。", "The picture has more pixels than allowed."),
    "file_unknown": Kind(
        422, "文件不存在或已使用。", "There is no such file of yours, or it is used elsewhere."
    ),
    "idempotency_mismatch": Kind(
        422,
        "该 Idempotency-Key 已用于另一请求。",
        "This Idempotency-Key was used with another body.",
    ),
    "too_many_requests": Kind(429, "操作过于频繁,请稍后再试。", "Too often; try again later."),
    # Accounts
    "already_registered": Kind(409, "该手机号已注册。", "This phone number is registered."),
    "code_invalid": Kind(422, "验证码无效或已过期。", "The code is wrong, used or expired."),
    "patient_exists": Kind(409, "该就诊人已添加。", "You have added this person already."),
    "message_not_sent": Kind(503, "短信暂时无法发送。", "The message could not be sent now."),
    # Booking
    "slot_full": Kind(409, "该时段号源已满。", "Every source of this slot is taken."),
    "slot_begun": Kind(409, "该时段已开始。", "This slot has begun."),
    "schedule_unavailable": Kind(409, "该排班不可预约。", "This session is not open for booking."),
    "not_open_yet": Kind(409, "该日期尚未开放预约。", "This date is not open for booking yet."),
    "not_offered": Kind(409, "该服务未开放。", "This is not offered."),
    "already_booked": Kind(
        409,
        "该就诊人当日已预约该医生。",
        "This person has an open appointment with this doctor that day.",
    ),
    "daily_limit": Kind(
        409,
        "该就诊人当日预约已达上限。",
        "This person has as many appointments that day as allowed.",
    ),
    "suspended": Kind(
        409,
        "该就诊人因多次未到诊被暂停预约。",
        "This person missed too many appointments and may not book for now.",
    ),
    "booking_refused": Kind(409, "暂时无法为该就诊人预约。", "This person cannot be booked here."),
    "not_full": Kind(409, "该时段仍有号源,请直接预约。", "There are free sources: book one."),
    "waitlist_full": Kind(409, "候补人数已满。", "The line for this slot is full."),
    # Orders
    "not_allowed": Kind(409, "当前状态不允许此操作。", "The present state does not allow this."),
    "check_in_not_open": Kind(409, "尚未开放签到。", "Check-in is not open yet."),
    "late_cancel": Kind(409, "已超过取消时限。", "It is too late to cancel."),
    "late_reschedule": Kind(409, "已超过改期时限。", "It is too late to reschedule."),
    "same_slot": Kind(409, "已在该时段。", "The order is in this slot already."),
    "price_differs": Kind(409, "该时段价格不同,请取消后重新预约。", "That slot has another price."),
    "called_off": Kind(409, "该时段已停诊。", "This session was called off."),
    "queue_empty": Kind(409, "没有候诊患者。", "Nobody is waiting."),
    "not_called": Kind(409, "尚未叫号。", "This patient was not called."),
    "not_payable": Kind(409, "该订单不可支付。", "This order cannot be paid."),
    "payment_refused": Kind(
        409, "支付机构拒绝了该笔支付。", "The gateway refuses this payment, for good."
    ),
    "channel_unavailable": Kind(409, "该支付方式不可用。", "This payment channel is not offered."),
    # Consultations
    "red_flag": Kind(
        409,
        "症状提示可能危及生命,请立即拨打 120 或前往急诊科。护士将与您联系。",
        "These signs may be an emergency: call 120 or go to an emergency department now. A nurse "
        "will call you.",
    ),
    "evidence_missing": Kind(
        409, "复诊须提供既往病历资料。", "A follow-up needs records of the earlier diagnosis."
    ),
    "doctor_unavailable": Kind(409, "该医生暂不接诊。", "This doctor takes no new cases now."),
    "judgement_missing": Kind(
        409, "接诊复诊前须记录判断依据。", "Record your judgement that this is a follow-up."
    ),
    "not_rung": Kind(409, "该急诊未呼叫您。", "You were not rung for this emergency."),
    "no_more_extensions": Kind(409, "已达延长次数上限。", "It was extended as often as allowed."),
    "no_more_calls": Kind(409, "已达拨打次数上限。", "It was dialled as often as allowed."),
    "diagnosis_not_allowed": Kind(
        409, "咨询不得作出诊断。", "No diagnosis may be made in a consultation for advice."
    ),
    # Video
    "video_unavailable": Kind(
        503,
        "视频暂时不可用,可改用电话或图文。",
        "There is no video for the moment; go on by phone or text.",
    ),
    # Work items
    "claimed_by_other": Kind(409, "已被他人领取。", "Somebody else has claimed this."),
    "lease_expired": Kind(409, "领取已过期。", "The lease is over already."),
    "excluded": Kind(403, "本人不得处理此事项。", "You are not the one who may decide this."),
    "wrong_role": Kind(403, "岗位不符。", "This waits for another role."),
    "decided_elsewhere": Kind(
        409, "请在订单中作出决定。", "This is decided at the order's own route."
    ),
    "already_appealed": Kind(409, "已提交过申诉。", "There was an appeal already."),
    # Care
    "licence_expired": Kind(409, "医师执业证书已过期。", "The doctor's licence has expired."),
    "licence_missing": Kind(409, "未登记医师执业证书。", "No valid licence is recorded."),
    "too_few_years": Kind(
        409, "独立执业年限不足。", "Too few years of independent practice for online care."
    ),
    "institution_consent_missing": Kind(
        409,
        "缺少主要执业机构的同意或已过期。",
        "The consent of the institution of registration is missing or over.",
    ),
    "consent_outdated": Kind(
        409, "知情同意书版本已更新,请阅读新版。", "This is not today's version of the text."
    ),
    "consent_missing": Kind(
        409, "请先阅读并同意知情同意书。", "Accept the texts of consent first."
    ),
    "too_many": Kind(409, "数量已达上限。", "There are as many as can be kept."),
    # Schedules
    "below_used": Kind(
        409, "号源数不能少于已用号源。", "Fewer sources than are already held by orders."
    ),
    "session_over": Kind(409, "该时段已结束。", "This session is over."),
    # Faults
    "try_again": Kind(
        503,
        "结果未知,请用相同的 Idempotency-Key 重试。",
        "The outcome is unknown; repeat with the same Idempotency-Key.",
    ),
    "unavailable": Kind(503, "服务暂时不可用。", "The service is unavailable for the moment."),
    "internal": Kind(500, "系统错误。", "Something went wrong on our side."),
}


@dataclass(frozen=True)
class FieldError:
    field: str  # as the client wrote it: patientInfo.idCard
    message: str


class Problem(Exception):
    """A refusal on its way to the client. `extra` goes into the document as it is, and where the
    law is the reason, the id of its rule."""

    def __init__(
        self,
        code: str,
        *,
        errors: list[FieldError] | None = None,
        retry_after: int | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.errors = errors
        self.retry_after = retry_after
        rule = {"rule": RULE_OF[code]} if code in RULE_OF else {}
        self.extra = rule | extra

    @classmethod
    def of_field(cls, field: str, message: str, code: str = "invalid") -> "Problem":
        return cls(code, errors=[FieldError(field, message)])


def answer(request: Request, problem: Problem) -> JSONResponse:
    kind = KINDS[problem.code]
    document: dict[str, Any] = {
        "type": f"urn:hospital:problem:{problem.code}",
        "title": problem.code.replace("_", " "),
        "status": kind.status,
        "detail": kind.en if prefers_english(request) else kind.zh,
        "code": problem.code,
        **problem.extra,
    }
    if problem.errors is not None:
        document["errors"] = [
            {"field": error.field, "message": error.message} for error in problem.errors
        ]
    retry_after = problem.retry_after or (1 if kind.status == 503 else None)
    headers = {"Retry-After": str(retry_after)} if retry_after else None
    if kind.status == 401:
        headers = {**(headers or {}), "WWW-Authenticate": "Bearer"}
    return JSONResponse(document, kind.status, headers=headers, media_type=MEDIA_TYPE)


def prefers_english(request: Request) -> bool:
    """Whether `Accept-Language` weighs English more than Chinese, or names it first of two that
    weigh the same. Chinese when it names neither."""
    weights: dict[str, float] = {}
    for choice in request.headers.get("accept-language", "").lower().split(","):
        tag, *params = (part.strip() for part in choice.split(";"))
        language = tag.partition("-")[0]
        # Of several of one language (en-GB, en) the best counts; dicts remember who was first.
        weights[language] = max(weights.get(language, 0.0), _weight(params))
    named = [language for language in weights if language in ("en", "zh") and weights[language]]
    return max(named, key=weights.__getitem__, default="zh") == "en"


def _weight(params: list[str]) -> float:
    """Of `q=0.3`; 1 where there is none, 0 (not wanted) for what is no number."""
    given = next((param.partition("=")[2] for param in params if param.startswith("q=")), "1")
    return float(given) if re.fullmatch(r"[01](\.[0-9]{0,3})?", given) else 0.0
