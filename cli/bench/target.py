"""Which system is measured: a development one on this machine, and no other.

A bench invents thousands of people and books for them. It has no business anywhere else.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from db.keyring import Keyring
from domain.hospital import HospitalConfig
from runtime.config import load_config
from runtime.settings import Settings, read_settings

_SOCKET_DIRECTORY = 4  # the fifth line of postmaster.pid


class BenchError(Exception):
    """It cannot be measured; one line for the terminal."""


@dataclass(frozen=True)
class Target:
    host: str
    port: int
    settings: Settings
    config: HospitalConfig
    keyring: Keyring

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/api/hospital"


def find_target(
    url: str,
    *,
    data_dir: Path,
    database_url: str | None,
    temporal: str | None,
    environ: Mapping[str, str],
) -> Target:
    """What to measure. Raises BenchError unless all of it is on this machine."""
    host, port = _api(url)
    database_url = (
        database_url or environ.get("HOSPITAL_DATABASE_URL") or database_of(data_dir / "postgres")
    )
    _ensure_local_database(database_url)
    settings = read_settings(
        {
            "HOSPITAL_KEYRING": str(data_dir / "keyring.json"),
            **environ,
            "HOSPITAL_DATABASE_URL": database_url,
            **({"TEMPORAL_ADDRESS": temporal} if temporal else {}),
        }
    )
    if not _is_loopback(settings.temporal.address.rpartition(":")[0]):
        raise BenchError(f"Temporal at {settings.temporal.address} is not on this machine")
    try:
        keyring = Keyring.load(settings.keyring_path)
    except (OSError, ValueError) as error:
        raise BenchError(f"the keyring cannot be read: {error}") from None
    return Target(host, port, settings, load_config(settings.config_path, environ), keyring)


def database_of(postgres: Path) -> str:
    """The URL of the database that `up` runs in this directory. Its socket may lie elsewhere."""
    try:
        lines = (postgres / "postmaster.pid").read_text().splitlines()
    except OSError:
        raise BenchError(
            f"no `up` is running on {postgres.parent}; name another --data-dir, or a --database-url"
        ) from None
    if len(lines) <= _SOCKET_DIRECTORY:
        raise BenchError(f"{postgres.parent} is only starting; try again")
    directory = quote(lines[_SOCKET_DIRECTORY], safe="")
    return f"postgresql://postgres@/hospital?host={directory}"


def _api(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise BenchError(f"{url}: expected an address such as http://127.0.0.1:8000")
    if not _is_loopback(parts.hostname):
        raise BenchError(f"{url} is not on this machine; only that is measured")
    return parts.hostname, port


def _ensure_local_database(database_url: str) -> None:
    try:
        parameters = conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        raise BenchError("the database's address is not a postgresql:// URL") from None
    hosts = [str(parameters[name]) for name in ("host", "hostaddr") if parameters.get(name)]
    for host in ",".join(hosts).split(","):
        if host and not host.startswith("/") and not _is_loopback(host):
            raise BenchError(f"the database at {host} is not on this machine")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
