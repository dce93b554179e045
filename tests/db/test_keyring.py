"""Keys: what they open, what they do not, and what is gone with them."""

import json
import stat
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from db.keyring import DataKey, Keyring, Shredded, UnknownKey, create_keyring

KEY = b64encode(bytes(32)).decode()
FIELDS = {"name": "示例", "phone": "13900001111"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    create_keyring(tmp_path / "keyring.json")
    return tmp_path / "keyring.json"


@pytest.fixture
def keyring(file: Path) -> Keyring:
    return Keyring.load(file)


def test_a_keyring_file_is_for_its_owner_alone(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_keyring_is_never_written_over(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        create_keyring(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        f'{{"current": "k1", "keys": {{"k1": "AAAA"}}, "index": "{KEY}"}}',
        f'{{"current": "k2", "keys": {{"k1": "{KEY}"}}, "index": "{KEY}"}}',
        f'{{"current": "k1", "keys": {{"k1": "{KEY}"}}, "index": ""}}',
    ],
)
def test_a_file_that_is_no_keyring_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "keyring.json").write_text(text)
    with pytest.raises(ValueError, match=r"keyring\.json: not a keyring file"):
        Keyring.load(tmp_path / "keyring.json")


def test_no_key_serves_two_purposes(keyring: Keyring) -> None:
    assert keyring.derived("wrap") != keyring.derived("payload")
    assert keyring.derived("payload") == keyring.derived("payload", "k1")
    with pytest.raises(UnknownKey, match="k9"):
        keyring.derived("payload", "k9")


def test_a_person_is_sealed_and_opened(keyring: Keyring) -> None:
    key = keyring.new_data_key()
    sealed = key.seal(FIELDS)
    assert b"13900001111" not in sealed
    assert keyring.unwrap(keyring.wrap(key)).open(sealed) == FIELDS


def test_another_persons_key_opens_nothing(keyring: Keyring) -> None:
    sealed = keyring.new_data_key().seal(FIELDS)
    with pytest.raises(InvalidTag):
        keyring.new_data_key().open(sealed)


def test_after_a_rotation_old_keys_open_and_the_new_one_wraps(keyring: Keyring) -> None:
    key = keyring.new_data_key()
    old = keyring.wrap(key)
    rotated = replace(keyring, current="k2", keys={**keyring.keys, "k2": bytes(32)})
    assert rotated.unwrap(old) == key
    new = rotated.wrap(key)
    assert new.startswith(b"k2\0")
    assert rotated.unwrap(new) == key
    with pytest.raises(UnknownKey, match="k2"):
        keyring.unwrap(new)


def test_a_rotation_leaves_the_blind_index_as_it_is(keyring: Keyring) -> None:
    rotated = replace(keyring, current="k2", keys={**keyring.keys, "k2": bytes(32)})
    assert rotated.blind("phone", "1") == keyring.blind("phone", "1")


def test_a_blind_index_tells_kinds_and_hospitals_apart(keyring: Keyring, tmp_path: Path) -> None:
    create_keyring(tmp_path / "other.json")
    other = Keyring.load(tmp_path / "other.json")
    same = {
        keyring.blind("phone", "1"),
        keyring.blind("id_number", "1"),
        other.blind("phone", "1"),
    }
    assert len(same) == 3


def test_a_shredded_person_cannot_be_opened(keyring: Keyring) -> None:
    with pytest.raises(Shredded):
        keyring.unwrap(None)


def test_keys_are_not_shown(keyring: Keyring, file: Path) -> None:
    raw = json.loads(file.read_text())
    shown = repr(keyring) + repr(DataKey(b"secretsecretsecretsecretsecretse"))
    assert repr(keyring.index) not in shown
    assert repr(keyring.keys["k1"]) not in shown
    assert raw["index"] not in shown
    assert "secretsecret" not in shown
