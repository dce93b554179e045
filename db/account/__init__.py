"""Accounts, their codes and sessions, and the persons (就诊人) they hold."""

from db.account.accounts import (
    Account,
    create_account,
    find_account,
    read_account,
    register_account,
    set_password,
    set_preferences,
)
from db.account.codes import issue_code, try_code
from db.account.data_keys import (
    SealingKey,
    new_sealing_key,
    sealing_key_for_phone,
    sealing_key_of_patient,
)
from db.account.patients import (
    HeldPatient,
    Patient,
    PatientDetails,
    add_patient,
    hold_patient,
    open_patient,
    patients_by_id,
    patients_of,
)
from db.account.rows import (
    AccountRow,
    DataKeyRow,
    PatientRow,
    RateLimitRow,
    RefreshTokenRow,
    SessionRow,
    SmsCodeRow,
)
from db.account.sessions import (
    OpenSession,
    RefreshRefusal,
    RefusedRefresh,
    end_session,
    end_sessions,
    open_session,
    refresh_session,
)

__all__ = [
    "Account",
    "AccountRow",
    "DataKeyRow",
    "HeldPatient",
    "OpenSession",
    "Patient",
    "PatientDetails",
    "PatientRow",
    "RateLimitRow",
    "RefreshRefusal",
    "RefreshTokenRow",
    "RefusedRefresh",
    "SealingKey",
    "SessionRow",
    "SmsCodeRow",
    "add_patient",
    "create_account",
    "end_session",
    "end_sessions",
    "find_account",
    "hold_patient",
    "issue_code",
    "new_sealing_key",
    "open_patient",
    "open_session",
    "patients_by_id",
    "patients_of",
    "read_account",
    "refresh_session",
    "register_account",
    "sealing_key_for_phone",
    "sealing_key_of_patient",
    "set_password",
    "set_preferences",
    "try_code",
]
