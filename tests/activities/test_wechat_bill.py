"""WeChat Pay's trade bill: what is read of it, and what is named when it cannot be."""

import gzip
import hashlib
from datetime import datetime
from decimal import Decimal

import pytest

from activities.gateways.payment import BadLine, Bill, BillKind, BillLine, GatewayUnavailable
from activities.gateways.wechat_bill import BEIJING, read_bill, unpacked
from tests.support.wechat_bill import PAID, RETURNED, a_bill, a_line

PAYMENT = BillLine(
    kind=BillKind.PAYMENT,
    payment_no="P260302AAAA",
    refund_no=None,
    amount=Decimal("50.00"),
    at=datetime(2026, 3, 2, 9, 30, 1, tzinfo=BEIJING),
    transaction_id="4200001111202603020000000001",
)
REFUND = BillLine(
    kind=BillKind.REFUND,
    payment_no="P260302AAAA",
    refund_no="R260302AAAA",
    amount=Decimal("20.50"),
    at=datetime(2026, 3, 2, 11, 0, tzinfo=BEIJING),
    transaction_id="4200001111202603020000000001",
)


def test_payments_and_refunds_by_time() -> None:
    bill = read_bill(a_bill(RETURNED, PAID), "NATIVE")
    assert bill == Bill((PAYMENT, REFUND))
    assert str(bill.lines[0].amount) == "50.00"


def test_a_day_on_which_nothing_moved() -> None:
    assert read_bill(a_bill(), "NATIVE") == Bill()


def test_what_the_merchant_takes_in_other_ways_is_not_ours() -> None:
    counter = a_line(交易类型="MICROPAY", 商户订单号="till 7, friday")
    assert read_bill(a_bill(counter, PAID), "NATIVE").lines == (PAYMENT,)
    assert read_bill(a_bill(counter, PAID), "JSAPI") == Bill()


def test_a_refund_on_its_way_is_told_apart_and_a_failed_one_is_none() -> None:
    on_its_way, failed = ({**RETURNED, "退款状态": state} for state in ("PROCESSING", "FAIL"))
    (line,) = read_bill(a_bill(on_its_way, failed), "NATIVE").lines
    assert (line.refund_no, line.final) == ("R260302AAAA", False)


def test_a_value_may_hold_a_comma() -> None:
    assert read_bill(a_bill({**PAID, "商品名称": "预约,挂号"}), "NATIVE") == Bill((PAYMENT,))


@pytest.mark.parametrize("odd", ["\u2028", "\x0b", "\x1c", "\x85"])
def test_a_value_may_hold_what_only_some_take_for_a_line_break(odd: str) -> None:
    bill = a_bill({**PAID, "商品名称": f"预约{odd}挂号"}, RETURNED)
    assert read_bill(bill, "NATIVE") == Bill((PAYMENT, REFUND))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"订单金额": "much"}, "bad_amount"),
        ({"订单金额": "0.00"}, "bad_amount"),
        ({"订单金额": "-5.00"}, "bad_amount"),
        ({"订单金额": "1.001"}, "bad_amount"),
        ({"交易时间": "yesterday"}, "bad_time"),
        ({"交易时间": "2026-02-30 00:00:00"}, "bad_time"),
        ({"商户订单号": ""}, "bad_number"),
        ({"微信订单号": "=cmd()"}, "bad_number"),
        ({"交易状态": "REVOKED"}, "unknown_state"),
        ({**RETURNED, "商户退款单号": ""}, "bad_number"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_on(line: dict[str, str], why: str) -> None:
    bill = read_bill(a_bill(PAID, {**PAID, **line}, RETURNED), "NATIVE")
    assert bill == Bill((PAYMENT, REFUND), (BadLine(3, why),))


def test_half_a_line_is_named() -> None:
    whole = a_bill(PAID, RETURNED).splitlines()
    for half in ("", "`2026-03-02 09:30:01,`wx", whole[1].removeprefix("`"), whole[1] + ",`more"):
        text = "\n".join([whole[0], half, *whole[2:]])
        assert read_bill(text, "NATIVE") == Bill((REFUND,), (BadLine(2, "wrong_number_of_fields"),))


def test_a_bill_that_was_cut_off_says_so() -> None:
    whole = a_bill(PAID, RETURNED).splitlines()
    for kept, count in ((1, 0), (2, 1), (3, 2), (4, 2)):
        bill = read_bill("\n".join(whole[:kept]), "NATIVE")
        assert len(bill.lines) == count
        assert [line.reason for line in bill.bad] == ["totals_differ"]
    missing = "\n".join([whole[0], whole[1], *whole[3:]])
    assert read_bill(missing, "NATIVE") == Bill((PAYMENT,), (BadLine(4, "totals_differ"),))


@pytest.mark.parametrize("text", ["", "<html>", "a,b,c\n`1,`2,`3"])
def test_another_table_is_no_bill(text: str) -> None:
    assert read_bill(text, "NATIVE") == Bill(bad=(BadLine(1, "unknown_columns"),))


def sha1(file: bytes) -> str:
    return hashlib.sha1(file).hexdigest()  # noqa: S324 - as WeChat


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda file: b"\xef\xbb\xbf" + file])
def test_packed_or_not_it_is_the_same_bill(pack) -> None:
    plain = a_bill(PAID).encode()
    file = pack(plain)
    told = sha1(file) if file.startswith(b"\xef") else sha1(plain)
    assert unpacked(file, told.upper()) == plain.decode()


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (b"another bill", "bad_bill_hash"),
        (gzip.compress(b"another bill", mtime=0), "bad_bill_hash"),
        (gzip.compress(b"half a bill", mtime=0)[:-9], "bad_bill"),
        (b"\x1f\x8bgarbage", "bad_bill"),
        (b"\xff\xfe", "bad_bill"),
    ],
)
def test_a_file_that_is_not_the_promised_one_is_asked_for_again(file: bytes, why: str) -> None:
    with pytest.raises(GatewayUnavailable) as failure:
        unpacked(file, sha1(b"the bill"))
    assert failure.value.code == why
