"""The data directory: one house at a time, secrets that stay and that others cannot read."""

import os
from pathlib import Path

import pytest

from cli.data_dir import DataDir, DataDirError
from db.keyring import Keyring


def test_a_second_house_on_the_same_directory_is_refused_until_the_first_is_gone(
    tmp_path: Path,
) -> None:
    first = DataDir.open(tmp_path / "data")
    with pytest.raises(DataDirError, match=rf"another .* \(process {os.getpid()}\) uses"):
        DataDir.open(tmp_path / "data")
    first.lock.close()
    DataDir.open(tmp_path / "data").lock.close()


def test_secrets_are_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    with DataDir.open(tmp_path / "data") as data_dir:
        keys, secret = data_dir.keyring().read_bytes(), data_dir.gateway_secret()
    with DataDir.open(tmp_path / "data") as data_dir:
        assert data_dir.keyring().read_bytes() == keys
        assert data_dir.gateway_secret() == secret
        assert Keyring.load(data_dir.keyring()).current
    modes = [path.stat().st_mode & 0o077 for path in (tmp_path / "data").iterdir()]
    assert modes == [0] * len(modes)
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_a_keyring_that_was_cut_off_is_not_kept(tmp_path: Path) -> None:
    with DataDir.open(tmp_path) as data_dir:
        (tmp_path / "keyring.making").write_text("{")
        assert Keyring.load(data_dir.keyring()).current


def test_the_gateways_port_stays_until_it_is_forgotten(tmp_path: Path) -> None:
    with DataDir.open(tmp_path) as data_dir:
        assert data_dir.gateway_port(4001) == 4001
        assert data_dir.gateway_port(4002) == 4001
        data_dir.forget_gateway_port()
        assert data_dir.gateway_port(4003) == 4003


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirError, match="cannot use the data directory"):
        DataDir.open(tmp_path / "file" / "data")
