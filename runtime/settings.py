"""Where things are: read once from the environment in an entry point, and passed on.

What the hospital *decides* is in `config/hospital.yaml` (`runtime/config.py`); this is only about
addresses, files and secrets.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_CONFIG = Path(__file__).parent.parent / "config" / "hospital.yaml"


def beside(config_path: Path, name: str) -> Path:
    """The file of this name beside the hospital's configuration, else ours."""
    own = config_path.parent / name
    return own if own.exists() else DEFAULT_CONFIG.parent / name


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
    voice_number: str | None  # who calls, on both phones of a bridged call
    base_url: str | None  # a stand-in for Twilio's API, for tests


@dataclass(frozen=True)
class WechatPaySettings:
    """Keys are files; what is in them is read when the gateway is opened."""

    mchid: str
    appid: str
    serial_no: str  # of the merchant's own certificate
    private_key_path: Path
    apiv3_key: str = field(repr=False)
    public_key_id: str | None
    public_key_path: Path | None
    certificates_path: Path | None  # a folder of platform certificates, the older way
    base_url: str | None  # a stand-in for WeChat Pay, for tests; or its second address


@dataclass(frozen=True)
class SmtpSettings:
    host: str
    port: int
    security: str  # none | starttls | tls
    username: str | None
    password: str | None = field(repr=False)
    sender: str


@dataclass(frozen=True)
class S3Settings:
    bucket: str
    region: str
    endpoint: str | None  # of another S3 than AWS's
    access_key: str | None = field(repr=False)  # None: those of the machine's own role
    secret_key: str | None = field(repr=False)


@dataclass(frozen=True)
class VideoSettings:
    url: str  # of Janus' admin API, for us alone
    public_url: str  # of Janus' WebSockets, where clients come
    admin_secret: str = field(repr=False)
    admin_key: str = field(repr=False)  # of the videoroom plugin: who shows it may make rooms
    stun_urls: tuple[str, ...]
    turn_urls: tuple[str, ...]
    turn_secret: str = field(repr=False)


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
    wechat_pay: WechatPaySettings | None
    twilio: TwilioSettings | None
    smtp: SmtpSettings | None
    log_format: str  # console | json
    files_dir: Path | None = None  # one of these two
    s3: S3Settings | None = None
    trusted_proxies: tuple[str, ...] = ()  # addresses or networks whose X-Forwarded-For counts
    video: VideoSettings | None = None

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
        wechat_pay=_wechat_pay(environ),
        twilio=_twilio(environ),
        smtp=_smtp(environ),
        log_format=environ.get("HOSPITAL_LOG_FORMAT", "console" if env == "dev" else "json"),
        files_dir=path("HOSPITAL_FILES_DIR"),
        s3=_s3(environ),
        trusted_proxies=_addresses(environ, "HOSPITAL_TRUSTED_PROXIES"),
        video=_video(environ),
    )


def _twilio(environ: Mapping[str, str]) -> TwilioSettings | None:
    sid = environ.get("TWILIO_ACCOUNT_SID")
    if not sid:
        return None
    token = environ.get("TWILIO_AUTH_TOKEN")
    service = environ.get("TWILIO_MESSAGING_SERVICE_SID") or None
    number = environ.get("TWILIO_FROM_NUMBER") or None
    voice = environ.get("TWILIO_VOICE_NUMBER") or None
    if not token:
        raise SettingsError("TWILIO_ACCOUNT_SID is set but TWILIO_AUTH_TOKEN is not")
    if not (service or number or voice):
        raise SettingsError(
            "Twilio needs TWILIO_MESSAGING_SERVICE_SID or TWILIO_FROM_NUMBER for SMS, "
            "TWILIO_VOICE_NUMBER for calls"
        )
    if voice and not re.fullmatch(r"\+[1-9][0-9]{6,14}", voice):
        raise SettingsError(
            "TWILIO_VOICE_NUMBER does not fit; expected a number like +861012345678"
        )
    base_url = environ.get("TWILIO_BASE_URL") or None
    return TwilioSettings(sid, token, service, number, voice, base_url)


def _wechat_pay(environ: Mapping[str, str]) -> WechatPaySettings | None:
    if not environ.get("WECHAT_PAY_MCHID"):
        return None

    def given(name: str, shape: str, expected: str) -> str:
        value = environ.get(name, "")
        if not value:
            raise SettingsError(f"WECHAT_PAY_MCHID is set but {name} is not")
        if not re.fullmatch(shape, value):
            raise SettingsError(f"{name} does not fit; expected {expected}")  # it may be a secret
        return value

    public_key_id = environ.get("WECHAT_PAY_PUBLIC_KEY_ID") or None
    public_key_path = environ.get("WECHAT_PAY_PUBLIC_KEY_PATH") or None
    certificates = environ.get("WECHAT_PAY_CERTIFICATES_PATH") or None
    if (public_key_id is None) != (public_key_path is None):
        raise SettingsError(
            "set both of WECHAT_PAY_PUBLIC_KEY_ID and WECHAT_PAY_PUBLIC_KEY_PATH, or neither"
        )
    if not (public_key_id or certificates):
        raise SettingsError(
            "WeChat Pay needs WECHAT_PAY_PUBLIC_KEY_ID and WECHAT_PAY_PUBLIC_KEY_PATH, "
            "or WECHAT_PAY_CERTIFICATES_PATH"
        )
    base_url = environ.get("WECHAT_PAY_BASE_URL") or None
    if base_url and not _safe(base_url):
        raise SettingsError("WECHAT_PAY_BASE_URL is not https, and not on loopback")
    return WechatPaySettings(
        mchid=given("WECHAT_PAY_MCHID", r"[0-9]{1,32}", "digits"),
        appid=given("WECHAT_PAY_APPID", r"wx[0-9A-Za-z]{1,30}", "wx and letters or digits"),
        serial_no=given("WECHAT_PAY_SERIAL_NO", r"[0-9A-Fa-f]{8,64}", "a number in hex"),
        private_key_path=Path(given("WECHAT_PAY_PRIVATE_KEY_PATH", r".+", "a file")),
        apiv3_key=given("WECHAT_PAY_APIV3_KEY", r"[!-~]{32}", "32 characters"),
        public_key_id=public_key_id,
        public_key_path=Path(public_key_path) if public_key_path else None,
        certificates_path=Path(certificates) if certificates else None,
        base_url=base_url,
    )


def _video(environ: Mapping[str, str]) -> VideoSettings | None:
    url = environ.get("HOSPITAL_JANUS_URL")
    if not url:
        return None

    def given(name: str) -> str:
        value = environ.get(name)
        if not value:
            raise SettingsError(f"HOSPITAL_JANUS_URL is set but {name} is not")
        return value

    if urlsplit(url).scheme not in ("http", "https"):
        raise SettingsError(f"HOSPITAL_JANUS_URL is {url!r}; expected http://… or https://…")
    public = given("HOSPITAL_JANUS_PUBLIC_URL")
    if not _safe(public, "ws"):
        raise SettingsError(
            f"HOSPITAL_JANUS_PUBLIC_URL is {public!r}; expected wss://…, or ws://… on loopback"
        )
    turn_urls = _ice_urls(environ, "HOSPITAL_TURN_URLS", "turn")
    turn_secret = environ.get("HOSPITAL_TURN_SECRET", "")
    if turn_urls and not turn_secret:
        raise SettingsError("HOSPITAL_TURN_URLS is set but HOSPITAL_TURN_SECRET is not")
    return VideoSettings(
        url=url,
        public_url=public,
        admin_secret=given("HOSPITAL_JANUS_ADMIN_SECRET"),
        admin_key=given("HOSPITAL_JANUS_ADMIN_KEY"),
        stun_urls=_ice_urls(environ, "HOSPITAL_STUN_URLS", "stun"),
        turn_urls=turn_urls,
        turn_secret=turn_secret,
    )


def _ice_urls(environ: Mapping[str, str], name: str, scheme: str) -> tuple[str, ...]:
    found = tuple(one.strip() for one in environ.get(name, "").split(",") if one.strip())
    for one in found:
        if not re.fullmatch(rf"{scheme}s?:[^\s/]+", one):
            raise SettingsError(f"{name} has {one!r}; expected such as {scheme}:host.example:3478")
    return found


def _safe(url: str, scheme: str = "http") -> bool:
    parts = urlsplit(url)
    return parts.scheme == f"{scheme}s" or (
        parts.scheme == scheme and parts.hostname in ("127.0.0.1", "localhost", "::1")
    )


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


def _s3(environ: Mapping[str, str]) -> S3Settings | None:
    bucket = environ.get("HOSPITAL_S3_BUCKET")
    if not bucket:
        return None
    if environ.get("HOSPITAL_FILES_DIR"):
        raise SettingsError("set HOSPITAL_FILES_DIR or HOSPITAL_S3_BUCKET, not both")
    access = environ.get("HOSPITAL_S3_ACCESS_KEY") or None
    secret = environ.get("HOSPITAL_S3_SECRET_KEY") or None
    if (access is None) != (secret is None):
        raise SettingsError("set both of HOSPITAL_S3_ACCESS_KEY and HOSPITAL_S3_SECRET_KEY")
    endpoint = environ.get("HOSPITAL_S3_ENDPOINT") or None
    if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
        raise SettingsError("HOSPITAL_S3_ENDPOINT is no http or https address")
    region = environ.get("HOSPITAL_S3_REGION") or "us-east-1"
    return S3Settings(bucket, region, endpoint, access, secret)


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
