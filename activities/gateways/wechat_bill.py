"""WeChat Pay's trade bill (交易账单, type ALL): a table in CSV, and the totals below it.

Each value has a backtick before it, so a value may hold commas. The columns are found by their
names. Instants are Beijing's, whatever the hospital's zone is.
"""

import gzip
import hashlib
import re
import zlib
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from activities.gateways.payment import (
    BadLine,
    Bill,
    BillKind,
    BillLine,
    GatewayUnavailable,
)

BEIJING = ZoneInfo("Asia/Shanghai")
AT, TRANSACTION, PAYMENT, TRADE, STATE = (
    "交易时间",
    "微信订单号",
    "商户订单号",
    "交易类型",
    "交易状态",
)
PAID, REFUND, REFUNDED, REFUND_STATE = "订单金额", "商户退款单号", "申请退款金额", "退款状态"
COLUMNS = (AT, TRANSACTION, PAYMENT, TRADE, STATE, PAID, REFUND, REFUNDED, REFUND_STATE)
TOTAL = "总交易单数"

_MONEY = re.compile(r"[0-9]{1,10}(\.[0-9]{1,2})?")
_NUMBER = re.compile(r"[A-Za-z0-9_|*@-]{1,64}")


class _Unreadable(Exception):
    """A line that makes no sense; the text is a word."""


def unpacked(file: bytes, sha1: str) -> str:
    """The bill's text. GatewayUnavailable when it is not the file that was promised."""
    try:
        plain = gzip.decompress(file) if file.startswith(b"\x1f\x8b") else file
        text = plain.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise GatewayUnavailable("bad_bill") from None
    # Not a secret of ours: it is the hash that WeChat gives.
    if hashlib.sha1(plain, usedforsecurity=False).hexdigest() != sha1.lower():
        raise GatewayUnavailable("bad_bill_hash")
    return text


def read_bill(text: str, trade: str) -> Bill:
    """The movements of one trade type (`NATIVE`, `JSAPI`): a merchant may use others elsewhere."""
    # Not splitlines(): it also splits where a name holds U+2028, or a vertical tab.
    rows = text.removesuffix("\n").replace("\r\n", "\n").split("\n")
    names = rows[0].split(",")
    if not set(COLUMNS) <= set(names):
        return Bill(bad=(BadLine(1, "unknown_columns"),))
    lines: list[BillLine] = []
    bad: list[BadLine] = []
    count, number = 0, 1
    for number, row in enumerate(rows[1:], 2):
        if row.startswith(TOTAL):
            break
        count += 1
        try:
            line = _line(names, row, trade)
        except _Unreadable as why:
            bad.append(BadLine(number, str(why)))
        else:
            lines += [line] if line else []
    told = _values(rows[number]) if number < len(rows) else []
    if not told or told[0] != str(count):
        bad.append(BadLine(number + 1, "totals_differ"))
    return Bill(tuple(sorted(lines, key=lambda line: line.at)), tuple(bad))


def _values(row: str) -> list[str]:
    return [value.strip() for value in row.removeprefix("`").split(",`")]


def _line(names: list[str], row: str, trade: str) -> BillLine | None:
    """None for what is not ours to count: another trade type, a refund that failed."""
    values = _values(row)
    if not row.startswith("`") or len(values) != len(names):
        raise _Unreadable("wrong_number_of_fields")
    field = dict(zip(names, values, strict=True))
    if field[TRADE] != trade:
        return None
    if field[STATE] not in ("SUCCESS", "REFUND"):
        raise _Unreadable("unknown_state")
    refund = field[STATE] == "REFUND"
    if refund and field[REFUND_STATE] == "FAIL":
        return None
    return BillLine(
        kind=BillKind.REFUND if refund else BillKind.PAYMENT,
        payment_no=_number(field[PAYMENT]),
        refund_no=_number(field[REFUND]) if refund else None,
        amount=_money(field[REFUNDED if refund else PAID]),
        at=_instant(field[AT]),
        transaction_id=_number(field[TRANSACTION]),
        final=not refund or field[REFUND_STATE] == "SUCCESS",
    )


def _number(value: str) -> str:
    if not _NUMBER.fullmatch(value):
        raise _Unreadable("bad_number")
    return value


def _money(value: str) -> Decimal:
    if not _MONEY.fullmatch(value) or (amount := Decimal(value)) == 0:
        raise _Unreadable("bad_amount")
    return amount.quantize(Decimal("0.01"))


def _instant(value: str) -> datetime:
    try:
        return datetime.strptime(value, "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING)
    except ValueError:
        raise _Unreadable("bad_time") from None
