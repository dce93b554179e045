"""What is random in a video room, and credentials for TURN."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

from domain.video import (
    LARGEST_NUMBER,
    ice_servers,
    new_display,
    new_room_number,
    new_token,
    turn_credentials,
)

AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def test_a_turn_server_can_check_a_credential_by_the_secret_alone() -> None:
    username, credential = turn_credentials("north", "seat-1", AT)
    assert username == "1795420800:seat-1"
    # As coturn's use-auth-secret computes it: base64(HMAC-SHA1(secret, username)).
    by_hand = base64.b64encode(hmac.new(b"north", username.encode(), hashlib.sha1).digest())
    assert credential == by_hand.decode()


def test_a_credential_is_of_one_seat_one_time_and_one_secret() -> None:
    later = AT.replace(hour=9)
    made = {
        turn_credentials(*which)[1]
        for which in [("a", "s", AT), ("b", "s", AT), ("a", "t", AT), ("a", "s", later)]
    }
    assert len(made) == 4


def test_only_servers_that_relay_get_credentials() -> None:
    stun, turn = ice_servers(["stun:s:3478"], ["turn:t:3478", "turns:t:5349"], "x", "seat", AT)
    assert (stun.urls, stun.username, stun.credential) == (("stun:s:3478",), None, None)
    assert turn.urls == ("turn:t:3478", "turns:t:5349")
    assert (turn.username, turn.credential) == turn_credentials("x", "seat", AT)
    assert "x" not in repr(turn).partition("credential")[2]
    assert turn.credential not in repr(turn)


def test_without_servers_there_are_none() -> None:
    assert ice_servers([], [], "", "seat", AT) == ()


def test_numbers_can_be_counted_to_by_javascript_and_nothing_repeats() -> None:
    numbers = {new_room_number() for _ in range(2000)}
    assert len(numbers) == 2000
    assert all(0 < number <= LARGEST_NUMBER for number in numbers)
    assert len({new_token() for _ in range(500)} | {new_display() for _ in range(500)}) == 1000
