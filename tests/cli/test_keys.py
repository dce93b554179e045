"""A rotation from the terminal, as docs/operations.md tells it."""

import argparse
import asyncio
import json
import stat
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cli import keys
from db.account import new_sealing_key
from db.base import engine_for
from db.keyring import Keyring


@pytest.fixture
def file(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "keyring.json"
    monkeypatch.setenv("HOSPITAL_KEYRING", str(file))
    monkeypatch.setenv("HOSPITAL_DATABASE_URL", database_url)
    assert run("create", str(file)) == 0
    return file


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    keys.add_arguments(parser)
    return keys.main(parser.parse_args(words))


def make_data_key(database_url: str, keyring: Keyring) -> None:
    async def make(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await new_sealing_key(connection, keyring)
        await engine.dispose()

    asyncio.run(make(engine_for(database_url, pool_size=1)))


def test_a_rotation_from_the_first_key_to_the_second(
    file: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Keyring.load(file)
    make_data_key(database_url, first)
    assert run("add", str(file)) == 0
    assert Keyring.load(file).current == "k1"
    assert run("use", str(file), "k2") == 0
    assert run("remove", str(file), "k1") == 1
    assert "1 data keys are wrapped under k1" in capsys.readouterr().err
    assert run("rewrap") == 0
    assert "1 data keys are wrapped anew.\nk1: 0\nk2: 1 (current)\n" in capsys.readouterr().out
    assert run("rewrap") == 0
    assert "0 data keys are wrapped anew." in capsys.readouterr().out
    assert run("remove", str(file), "k1") == 0
    last = Keyring.load(file)
    assert (last.current, set(last.keys), last.index) == ("k2", {"k2"}, first.index)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_id_is_never_given_twice(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("add", str(file))
    assert run("remove", str(file), "k2", "--unused") == 0
    capsys.readouterr()
    run("add", str(file))
    assert capsys.readouterr().out == "k3\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("use", "FILE", "k9"), "the keyring has no key k9"),
        (("remove", "FILE", "k9"), "the keyring has no key k9"),
        (("remove", "FILE", "k1"), "k1 is the current key"),
        (("create", "FILE"), "File exists"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(
    file: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    before = file.read_bytes()
    assert run(*(str(file) if word == "FILE" else word for word in words)) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert file.read_bytes() == before


def test_a_data_key_under_a_lost_key_fails_the_run_and_names_the_key(
    file: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data_key(database_url, Keyring("k0", {"k0": b"0" * 32}, b"i" * 32))
    assert run("rewrap") == 1
    told = capsys.readouterr()
    assert "k0: 1 (not in the keyring)" in told.out
    assert told.err == "hospital: the keyring has no key k0\n"


def test_no_key_is_ever_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("add", str(file)), ("use", str(file), "k2"), ("count",), ("rewrap",)):
        run(*words)
    told = capsys.readouterr()
    ring = json.loads(file.read_text())
    assert not any(
        secret in told.out + told.err for secret in (*ring["keys"].values(), ring["index"])
    )
