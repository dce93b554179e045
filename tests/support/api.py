"""A real application on a real PostgreSQL, with no network: what API tests talk to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import httpx
from argon2 import PasswordHasher
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from stdnum.cn.ric import calc_check_digit
from temporalio.client import Client

from activities.file import Files
from activities.gateways.payment import PaymentGateway
from activities.gateways.sending import MessageError, Sent
from activities.gateways.sms import SmsGateway
from activities.gateways.storage import Storage
from api.app import create_app
from api.context import Context
from api.doorbell import Doorbell
from api.passwords import Passwords
from api.revocations import Revocations
from api.streams import Streams
from api.tokens import AccessTokens
from db.base import driver_pool_for, engine_for
from db.keyring import Keyring
from domain.access import Caller, Role
from domain.hospital import AccountPolicy, HospitalConfig, Policies
from runtime.codec import data_converter
from runtime.lifecycles import TemporalLifecycles
from runtime.metrics import Metrics
from runtime.settings import read_settings
from tests.support.catalogue import a_config
from tests.support.storage import MemoryStorage

BASE = "http://hospital.test/api/hospital"
NOBODY_LISTENS = "127.0.0.1:1"
PASSWORD = "clear-water-7"


@dataclass
class RememberedSms:
    """An SmsGateway that sends nothing and remembers everything."""

    sent: list[tuple[str, str]] = field(default_factory=list)  # to, text
    fails_with: MessageError | None = None

    async def send(self, *, to: str, text: str, key: str) -> Sent:
        if self.fails_with:
            raise self.fails_with
        self.sent.append((to, text))
        return Sent(provider_id=f"test:{key}", receipt_expected=False)

    async def find(self, *, to: str, text: str, since: datetime) -> Sent | None:
        return None

    def code_for(self, phone: str) -> str:
        """The code in the newest message to this Chinese number."""
        text = next(text for to, text in reversed(self.sent) if to == f"+86{phone}")
        found = re.search(r"(?<!\d)\d{6}(?!\d)", text)
        assert found, text
        return found.group()


def hospital_config(accounts: AccountPolicy | None = None) -> HospitalConfig:
    """The hospital of the other tests, with these rules for accounts."""
    return replace(a_config(), policies=Policies(accounts=accounts or AccountPolicy()))


async def a_client(keyring: Keyring, address: str = NOBODY_LISTENS) -> Client:
    """Of Temporal, not connected yet."""
    return await Client.connect(address, lazy=True, data_converter=data_converter(keyring))


async def make_context(
    database_url: str,
    keyring: Keyring,
    config: HospitalConfig | None = None,
    *,
    sms: SmsGateway | None = None,
    payments: Mapping[str, PaymentGateway] | None = None,
    temporal: Client | None = None,
    passwords: Passwords | None = None,
    storage: Storage | None = None,
    env: str = "dev",
) -> Context:
    """As an API process has it. Temporal is away unless given; `close_context` at the end."""
    config = config or hospital_config()
    engine = engine_for(database_url, pool_size=20)
    direct = driver_pool_for(database_url, size=8)
    await direct.open()
    valid = config.policies.accounts.access_token
    client = temporal or await a_client(keyring)
    revocations = Revocations(engine, valid)
    return Context(
        settings=read_settings(
            {
                "HOSPITAL_ENV": env,
                "HOSPITAL_DATABASE_URL": database_url,
                "HOSPITAL_KEYRING": "keyring.json",
            }
        ),
        config=config,
        engine=engine,
        direct=direct,
        keyring=keyring,
        lifecycles=TemporalLifecycles(client, engine, config),
        payments=dict(payments or {}),
        sms=sms or RememberedSms(),
        tokens=AccessTokens(keyring, valid),
        revocations=revocations,
        doorbell=Doorbell(engine),
        metrics=Metrics(CollectorRegistry()),
        files=Files(engine, storage or MemoryStorage(), keyring),
        streams=Streams(engine, database_url, keyring, revocations.ended),
        passwords=passwords or Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)),
    )


async def close_context(context: Context) -> None:
    await context.direct.close()
    await context.engine.dispose()


def client_of(context: Context, *, address: str = "203.0.113.7") -> httpx.AsyncClient:
    """A client that calls the application in this process, as if from this address."""
    return client_to(create_app(context), address=address)


def client_to(app: FastAPI, *, address: str = "203.0.113.7") -> httpx.AsyncClient:
    """The same of an application that is there already: making one takes longer than a request."""
    transport = httpx.ASGITransport(app, client=(address, 4321))
    return httpx.AsyncClient(transport=transport, base_url=BASE)


@dataclass
class Patron:
    """Somebody who is logged in."""

    phone: str
    password: str
    user_id: int
    access_token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}


async def registered(
    client: httpx.AsyncClient,
    sms: RememberedSms,
    phone: str,
    password: str = PASSWORD,
    name: str | None = None,
) -> Patron:
    """Register this Chinese number, by SMS as everybody does."""
    asked = await client.post("/auth/sms-codes", json={"phone": phone, "purpose": "register"})
    assert asked.status_code == 202, asked.text
    new = {"phone": phone, "code": sms.code_for(phone), "password": password, "name": name}
    answer = await client.post("/auth/register", json=new)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    return Patron(phone, password, body["user"]["id"], body["accessToken"], body["refreshToken"])


def id_card(birth_date: date, *, sequence: int = 3) -> str:
    """A number with everything right, of a region that does not exist: nobody has it.
    An odd `sequence` (of three digits) is a man's."""
    digits = f"990000{birth_date:%Y%m%d}{sequence:03d}"
    return digits + str(calc_check_digit(digits + "0"))


def as_caller(
    context: Context, account_id: int, *roles: Role, doctor_id: int | None = None
) -> dict[str, str]:
    """The headers of somebody with these roles, without a login."""
    caller = Caller(account_id, 1, context.hospital_id, frozenset(roles), doctor_id)
    return {"Authorization": f"Bearer {context.tokens.issue(caller)}"}


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem document."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["type"].endswith(document["code"])
    return answer.status_code, document["code"]
