"""Which limits stand before strangers, and whom they count: phones and addresses, as blind indexes.

An address is shared by whole offices and mobile networks, so it gets a multiple of what one phone
gets: enough to stop one machine from walking through many phones.
"""

import ipaddress
from datetime import timedelta

from fastapi import Request

from api.context import Context
from api.problems import Problem
from db.rate_limit import Limit, TooOften
from domain.account import CodePurpose

SHARED_BY = 10  # phones behind one address that may each fail as often as allowed
# Entries an hour in the audit, which is never shortened: enough to see that somebody tries, and
# from where. Who has many addresses meets the second.
FORGERIES_AUDITED = 10
FORGERIES_AUDITED_IN_ALL = 200


def code_limits(
    context: Context, phone: str, purpose: CodePurpose, address: str
) -> tuple[Limit, Limit, Limit]:
    """For one SMS code. The pause is by purpose as well: who has just registered may log in."""
    policy = context.config.policies.accounts
    whom = _index(context, "phone", phone)
    where = _index(context, "address", address)
    return (
        Limit(f"codes:phone:{whom}", policy.codes_per_phone_per_day, timedelta(days=1)),
        Limit(f"codes:pause:{purpose}:{whom}", 1, policy.code_resend),
        Limit(f"codes:address:{where}", policy.codes_per_address_per_hour, timedelta(hours=1)),
    )


def password_limits(context: Context, phone: str, address: str) -> tuple[Limit, Limit]:
    """For one try of a password. Codes have tries of their own, so that a phone whose password
    somebody else has tried too often can still be logged in by SMS."""
    policy = context.config.policies.accounts
    whom = _index(context, "phone", phone)
    return (
        Limit(f"passwords:phone:{whom}", policy.failed_logins, policy.failed_logins_window),
        attempt_limit(context, address),
    )


def attempt_limit(context: Context, address: str) -> Limit:
    """For one try of a password or code from an address."""
    policy = context.config.policies.accounts
    where = _index(context, "address", address)
    most = policy.failed_logins * SHARED_BY
    return Limit(f"attempts:address:{where}", most, policy.failed_logins_window)


def forgery_limits(context: Context, address: str) -> tuple[Limit, Limit]:
    """For one entry in the audit about a callback that somebody made up."""
    where, hour = _index(context, "address", address), timedelta(hours=1)
    return (
        Limit(f"forgeries:address:{where}", FORGERIES_AUDITED, hour),
        Limit(f"forgeries:hospital:{context.hospital_id}", FORGERIES_AUDITED_IN_ALL, hour),
    )


def client_address(request: Request) -> str:
    """Where the request comes from; of IPv6 the /64 network, all of which one machine may use."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host  # a UNIX socket or a test
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


def too_often(refused: TooOften) -> Problem:
    return Problem("too_many_requests", retry_after=refused.retry_after)


def _index(context: Context, kind: str, value: str) -> str:
    return context.keyring.blind(kind, f"{context.hospital_id}\0{value}").hex()
