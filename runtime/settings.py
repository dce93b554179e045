"""Where things are: read once from the environment in an entry point, and passed on.

What the hospital *decides* is in `config/hospital.yaml` (`runtime/config.py`); this is only about
addresses, files and secrets.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_CONFIG = Path(__file__).parent.parent / "config" / "hospital.yaml"


class SettingsError(Exception):
    """A setting is missing or impossible; the text names the environment variable."""


@dataclass(frozen=True)
class TemporalSettings:
    address: str
    namespace: str
    api_key: str | None = field(repr=False)
    tls: bool
    tls_client_cert: Path | None
    tls_client_key: Path | None
    tls_server_ca: Path | None


@dataclass(frozen=True)
class TwilioSettings:
    account_sid: str
    auth_token: str = field(repr=False)
    messaging_service_sid: str | None
    from_number: str | None
    base_url: str | None  # a stand-in for Twilio's API, for tests


@dataclass(frozen=True)
class SmtpSettings:
    host: str
    port: int
    security: str  # none | starttls | tls
    username: str | None
    password: str | None = field(repr=False)
    sender: str


@dataclass(frozen=True)
class Settings:
    env: str
    config_path: Path
    database_url: str = field(repr=False)
    keyring_path: Path
    public_url: str
    temporal_ui_urls: tuple[str, ...]  # origins whose pages may ask the codec
    temporal: TemporalSettings
    sandbox_gateway_url: str | None
    sandbox_gateway_secret: str | None = field(repr=False)
    twilio: TwilioSettings | None
    smtp: SmtpSettings | None
    log_format: str  # console | json
    trusted_proxies: tuple[str, ...] = ()  # addresses or networks whose X-Forwarded-For counts

    @property
    def dev(self) -> bool:
        """Whether the development routes may exist (they also ask for a loopback bind)."""
        return self.env == "dev"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Raises SettingsError that names the variable."""

    def required(name: str) -> str:
        value = environ.get(name)
        if not value:
            raise SettingsError(f"{name} is not set")
        return value

    def path(name: str) -> Path | None:
        value = environ.get(name)
        return Path(value) if value else None

    env = environ.get("HOSPITAL_ENV", "production")
    if env not in ("dev", "production"):
        raise SettingsError(f"HOSPITAL_ENV is {env!r}; expected dev or production")
    return Settings(
        env=env,
        config_path=path("HOSPITAL_CONFIG") or DEFAULT_CONFIG,
        database_url=required("HOSPITAL_DATABASE_URL"),
        keyring_path=Path(required("HOSPITAL_KEYRING")),
        public_url=environ.get("HOSPITAL_PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/"),
        temporal_ui_urls=tuple(
            environ.get(
                "HOSPITAL_TEMPORAL_UI_URLS", "http://127.0.0.1:8233,http://localhost:8233"
            ).split(",")
        ),
        temporal=TemporalSettings(
            address=environ.get("TEMPORAL_ADDRESS", "127.0.0.1:7233"),
            namespace=environ.get("TEMPORAL_NAMESPACE", "default"),
            api_key=environ.get("TEMPORAL_API_KEY") or None,
            tls=_flag(environ, "TEMPORAL_TLS"),
            tls_client_cert=path("TEMPORAL_TLS_CLIENT_CERT_PATH"),
            tls_client_key=path("TEMPORAL_TLS_CLIENT_KEY_PATH"),
            tls_server_ca=path("TEMPORAL_TLS_SERVER_CA_CERT_PATH"),
        ),
        sandbox_gateway_url=environ.get("HOSPITAL_SANDBOX_GATEWAY_URL") or None,
        sandbox_gateway_secret=environ.get("HOSPITAL_SANDBOX_GATEWAY_SECRET") or None,
        twilio=_twilio(environ),
        smtp=_smtp(environ),
        log_format=environ.get("HOSPITAL_LOG_FORMAT", "console" if env == "dev" else "json"),
        trusted_proxies=_addresses(environ, "HOSPITAL_TRUSTED_PROXIES"),
    )


def _twilio(environ: Mapping[str, str]) -> TwilioSettings | None:
    sid = environ.get("TWILIO_ACCOUNT_SID")
    if not sid:
        return None
    token = environ.get("TWILIO_AUTH_TOKEN")
    service = environ.get("TWILIO_MESSAGING_SERVICE_SID") or None
    number = environ.get("TWILIO_FROM_NUMBER") or None
    if not token:
        raise SettingsError("TWILIO_ACCOUNT_SID is set but TWILIO_AUTH_TOKEN is not")
    if not (service or number):
        raise SettingsError("Twilio needs TWILIO_MESSAGING_SERVICE_SID or TWILIO_FROM_NUMBER")
    return TwilioSettings(sid, token, service, number, environ.get("TWILIO_BASE_URL") or None)


def _smtp(environ: Mapping[str, str]) -> SmtpSettings | None:
    host = environ.get("SMTP_HOST")
    if not host:
        return None
    security = environ.get("SMTP_SECURITY", "starttls")
    if security not in ("none", "starttls", "tls"):
        raise SettingsError(f"SMTP_SECURITY is {security!r}; expected none, starttls or tls")
    port = environ.get("SMTP_PORT", "587")
    if not port.isdigit():
        raise SettingsError(f"SMTP_PORT is {port!r}; expected a number")
    sender = environ.get("SMTP_FROM")
    if not sender:
        raise SettingsError("SMTP_HOST is set but SMTP_FROM is not")
    return SmtpSettings(
        host=host,
        port=int(port),
        security=security,
        username=environ.get("SMTP_USERNAME") or None,
        password=environ.get("SMTP_PASSWORD") or None,
        sender=sender,
    )


def _addresses(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Never `*`: whoever is trusted says where a request comes from, and limits count by that."""
    found = tuple(one.strip() for one in environ.get(name, "").split(",") if one.strip())
    for one in found:
        try:
            ipaddress.ip_network(one)
        except ValueError:
            raise SettingsError(
                f"{name} has {one!r}; expected addresses or networks such as 10.0.0.0/24"
            ) from None
    return found


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").lower()
    if value not in ("", "0", "1", "true", "false"):
        raise SettingsError(f"{name} is {value!r}; expected true or false")
    return value in ("1", "true")
