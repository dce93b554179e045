"""Getting in and out: codes by SMS, registration, login, refresh, logout."""

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context, CurrentCaller, InContext
from api.documented import refusals
from api.limits import attempt_limit, client_address, password_limits, too_often
from api.problems import Problem, prefers_english
from api.routing import Router
from api.schemas.account import (
    CodeSent,
    CodeWanted,
    LoggedIn,
    Login,
    NewPassword,
    Refresh,
    Registration,
    User,
)
from api.sms_codes import send_code, use_code
from db.account import (
    Account,
    OpenSession,
    RefreshRefusal,
    end_session,
    end_sessions,
    find_account,
    open_session,
    read_account,
    refresh_session,
    register_account,
    set_password,
)
from db.rate_limit import Limit, TooOften, count, forget, give_back
from domain.access import Caller
from domain.account import CodePurpose
from domain.message import Language

router = Router(prefix="/auth", tags=["accounts"])

REFUSED_REFRESH = {
    RefreshRefusal.UNKNOWN: "not_authenticated",
    RefreshRefusal.REUSED: "token_reused",
    RefreshRefusal.ENDED: "session_revoked",
    RefreshRefusal.EXPIRED: "token_expired",
}


@router.post(
    "/sms-codes",
    status_code=202,
    summary="Have a code sent by SMS",
    responses=refusals("invalid", "too_many_requests", "message_not_sent"),
)
async def send_sms_code(wanted: CodeWanted, request: Request, context: InContext) -> CodeSent:
    """Six digits, for one use. The answer is the same whether or not the phone is registered."""
    policy = context.config.policies.accounts
    english = prefers_english(request)
    default = Language(context.config.policies.messages.default_language)
    await send_code(
        context,
        wanted.phone,
        wanted.purpose,
        address=client_address(request),
        language=Language.EN if english else default,
    )
    return CodeSent(
        expires_in=int(policy.code_valid.total_seconds()),
        resend_in=int(policy.code_resend.total_seconds()),
    )


@router.post(
    "/register",
    status_code=201,
    summary="Register a phone",
    responses=refusals("invalid", "code_invalid", "already_registered", "too_many_requests"),
)
async def register(new: Registration, request: Request, context: InContext) -> LoggedIn:
    """Needs a code of purpose `register`. Whether the phone is taken is told only to who has it."""
    await _spend_code(context, request, new.phone, CodePurpose.REGISTER, new.code)
    password_hash = await context.passwords.hash(new.password.get_secret_value())
    async with context.engine.begin() as connection:
        account_id = await register_account(
            connection,
            context.keyring,
            context.hospital_id,
            phone=new.phone,
            name=new.name,
            password_hash=password_hash,
        )
        if account_id is None:
            raise Problem("already_registered")
        account = await read_account(connection, context.keyring, context.hospital_id, account_id)
        valid = context.config.policies.accounts.refresh_token
        session = await open_session(connection, account_id, password_hash, valid)
    return _logged_in(context, account, session)


@router.post(
    "/login",
    summary="Log in by password or code",
    responses=refusals("invalid", "bad_credentials", "too_many_requests"),
)
async def log_in(login: Login, request: Request, context: InContext) -> LoggedIn:
    """Either `password`, or `code` of purpose `login`. One refusal for every reason."""
    address = client_address(request)
    if login.password is not None:
        return await _by_password(context, login.phone, login.password.get_secret_value(), address)
    assert login.code is not None  # noqa: S101 (the schema wants one of the two)
    return await _by_code(context, login.phone, login.code, address)


@router.post(
    "/refresh",
    summary="Change a refresh token for a new pair",
    responses=refusals("invalid", "not_authenticated", "token_reused", "session_revoked"),
)
async def refresh(old: Refresh, context: InContext) -> LoggedIn:
    """Each refresh token works once. One that comes a second time ends its login: whoever
    answers `token_reused` to its user should have them log in again."""
    valid = context.config.policies.accounts.refresh_token
    account: Account | None = None
    async with context.engine.begin() as connection:
        session = await refresh_session(connection, old.refresh_token.get_secret_value(), valid)
        if isinstance(session, OpenSession):
            account = await read_account(
                connection, context.keyring, context.hospital_id, session.account_id
            )
    if not isinstance(session, OpenSession):
        if session.why is RefreshRefusal.REUSED and session.session_id is not None:
            context.revocations.end(session.session_id)
        raise Problem(REFUSED_REFRESH[session.why])
    if account is None:
        raise Problem("session_revoked")  # the account was closed
    return _logged_in(context, account, session)


@router.post(
    "/logout",
    status_code=204,
    summary="End this login",
    responses=refusals("not_authenticated", "session_revoked"),
)
async def log_out(caller: CurrentCaller, context: InContext) -> None:
    """Its access and refresh tokens work no more."""
    async with context.engine.begin() as connection:
        await end_session(connection, caller.session_id, "logout")
    context.revocations.end(caller.session_id)


@router.post(
    "/reset-password",
    status_code=204,
    summary="Set a new password",
    responses=refusals("invalid", "code_invalid", "too_many_requests"),
)
async def reset_password(new: NewPassword, request: Request, context: InContext) -> None:
    """Needs a code of purpose `reset_password`. Ends every login of the account."""
    await _spend_code(context, request, new.phone, CodePurpose.RESET_PASSWORD, new.code)
    password_hash = await context.passwords.hash(new.password.get_secret_value())
    limits = password_limits(context, new.phone, client_address(request))
    async with context.engine.begin() as connection:
        # Limits are locked before accounts, as at logins: two at once must not wait for each other.
        await forget(connection, limits[0].key)
        account = await find_account(connection, context.keyring, context.hospital_id, new.phone)
        if account is None:
            raise Problem("code_invalid")  # no other word for it: there is nothing to reset
        await set_password(connection, account.id, password_hash)
        ended = await end_sessions(connection, account.id, "password_reset")
    for session_id in ended:
        context.revocations.end(session_id)


async def _by_password(context: Context, phone: str, password: str, address: str) -> LoggedIn:
    """The try is counted before it is judged, so that parallel guesses cannot outrun the limit."""
    of_phone, of_address = password_limits(context, phone, address)
    async with context.engine.begin() as connection:
        await _count(connection, of_phone, of_address)
        account = await find_account(connection, context.keyring, context.hospital_id, phone)
    stored = account.password_hash if account else None
    if not await context.passwords.matches(password, stored) or account is None:
        raise Problem("bad_credentials")
    valid = context.config.policies.accounts.refresh_token
    renewed = account.password_hash
    if context.passwords.outdated(renewed):
        renewed = await context.passwords.hash(password)
    async with context.engine.begin() as connection:
        await forget(connection, of_phone.key)
        await give_back(connection, of_address.key)
        if renewed != account.password_hash:
            await set_password(connection, account.id, renewed, instead_of=account.password_hash)
        session = await open_session(connection, account.id, renewed, valid)
    return _logged_in(context, account, session)


async def _by_code(context: Context, phone: str, code: str, address: str) -> LoggedIn:
    limit = attempt_limit(context, address)
    valid = context.config.policies.accounts.refresh_token
    account: Account | None = None
    session: OpenSession | None = None
    async with context.engine.begin() as connection:
        await _count(connection, limit)
        if await use_code(connection, context, phone, CodePurpose.LOGIN, code):
            await give_back(connection, limit.key)
            account = await find_account(connection, context.keyring, context.hospital_id, phone)
        if account is not None:
            session = await open_session(connection, account.id, account.password_hash, valid)
    return _logged_in(context, account, session)


async def _spend_code(
    context: Context, request: Request, phone: str, purpose: CodePurpose, code: str
) -> None:
    """Commits by itself: a wrong try stays counted, and a right code stays used."""
    limit = attempt_limit(context, client_address(request))
    async with context.engine.begin() as connection:
        await _count(connection, limit)
        right = await use_code(connection, context, phone, purpose, code)
        if right:
            await give_back(connection, limit.key)
    if not right:
        raise Problem("code_invalid")


async def _count(connection: AsyncConnection, *limits: Limit) -> None:
    try:
        await count(connection, *limits)
    except TooOften as refused:
        raise too_often(refused) from None


def _logged_in(context: Context, account: Account | None, session: OpenSession | None) -> LoggedIn:
    """Raises Problem `bad_credentials` when there is no account, or it changed meanwhile."""
    if account is None or session is None:
        raise Problem("bad_credentials")
    caller = Caller(
        account_id=account.id,
        session_id=session.id,
        hospital_id=account.hospital_id,
        roles=account.roles,
        doctor_id=account.doctor_id,
    )
    return LoggedIn(
        access_token=context.tokens.issue(caller),
        refresh_token=session.refresh_token,
        expires_in=int(context.tokens.valid.total_seconds()),
        user=User.model_validate(account),
    )
