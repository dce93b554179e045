"""How much goes back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.payment import refundable, share_of

yuan = st.decimals(min_value=0, max_value=100_000, places=2)
shares = st.decimals(min_value=0, max_value=1, places=4)


@pytest.mark.parametrize(
    ("amount", "share", "expected"),
    [
        ("50.00", "1", "50.00"),
        ("50.00", "0", "0.00"),
        ("50.00", "0.3", "15.00"),
        ("0.01", "0.5", "0.01"),  # half a fen is the patient's
        ("0.01", "0.49", "0.00"),
        ("33.33", "0.5", "16.67"),
        ("99.99", "0.3333", "33.33"),
    ],
)
def test_a_share_is_rounded_to_the_fen_half_up(amount, share, expected):
    found = share_of(Decimal(amount), Decimal(share))
    assert str(found) == expected


@given(amount=yuan, share=shares)
def test_a_share_is_never_more_than_the_whole(amount, share):
    assert 0 <= share_of(amount, share) <= amount


@pytest.mark.parametrize(
    ("received", "given_back", "wanted", "expected"),
    [
        ("50", "0", "50", "50"),
        ("50", "15", "50", "35"),  # the rest
        ("50", "50", "50", "0"),
        ("50", "0", "60", "50"),
        ("0", "0", "50", "0"),  # nothing came in
        ("50", "60", "10", "0"),  # too much went back already: never negative
    ],
)
def test_no_more_goes_back_than_came_in_and_is_left(received, given_back, wanted, expected):
    amounts = (Decimal(value) for value in (received, given_back, wanted))
    assert refundable(*amounts) == Decimal(expected)


@given(received=yuan, wanted=st.lists(yuan, max_size=6))
def test_however_often_it_is_wanted_the_sum_stays_within_what_came_in(received, wanted):
    back = Decimal(0)
    for amount in wanted:
        back += refundable(received, back, amount)
    assert back <= received
