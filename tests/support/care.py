"""Doctors, operators and patients of one application, without a login each."""

from dataclasses import dataclass
from typing import Any

import httpx

from api.context import Context
from domain.access import Role
from tests.support.api import as_caller
from tests.support.booking import Clinic


@dataclass
class Care:
    """A clinic with one doctor, over HTTP."""

    client: httpx.AsyncClient
    context: Context
    clinic: Clinic

    @classmethod
    async def opened(cls, client: httpx.AsyncClient, context: Context) -> "Care":
        return cls(client, context, await Clinic.opened(context.engine, context.keyring))

    async def doctor(self, doctor_id: int | None = None) -> dict[str, str]:
        """The headers of a doctor who has an account."""
        account = await self.clinic.account()
        return as_caller(
            self.context, account, Role.DOCTOR, doctor_id=doctor_id or self.clinic.doctor
        )

    @property
    def operator(self) -> dict[str, str]:
        return as_caller(self.context, 90, Role.OPERATOR)

    def patient(self, account_id: int) -> dict[str, str]:
        return as_caller(self.context, account_id, Role.PATIENT)

    async def send(
        self, method: str, path: str, who: dict[str, str] | None, body: Any = None, key: str = ""
    ) -> httpx.Response:
        headers = dict(who or {}) | ({"Idempotency-Key": key} if key else {})
        return await self.client.request(method, path, json=body, headers=headers)
