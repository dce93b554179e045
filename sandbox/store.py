"""The sandbox gateway's file: SQLite in WAL, one connection, one transaction at a time.

What is committed here survives a killed process, undelivered callbacks included. Money is fen;
instants are ISO 8601 in UTC with microseconds, so that they sort as text.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

_VERSION = 1
_SCHEMA = """
CREATE TABLE payment (
    payment_no     TEXT PRIMARY KEY,
    gateway_no     TEXT NOT NULL,
    amount         INTEGER NOT NULL CHECK (amount > 0),
    description    TEXT NOT NULL,
    notify_url     TEXT NOT NULL,
    expires_at     TEXT NOT NULL,
    closed_at      TEXT,
    paid_at        TEXT,
    transaction_id TEXT,
    CHECK ((paid_at IS NULL) = (transaction_id IS NULL))
);
CREATE INDEX payment_paid ON payment (paid_at);

CREATE TABLE failed_attempt (
    id         INTEGER PRIMARY KEY,
    payment_no TEXT NOT NULL REFERENCES payment,
    at         TEXT NOT NULL
);
CREATE INDEX failed_attempt_payment ON failed_attempt (payment_no);

CREATE TABLE refund (
    refund_no         TEXT PRIMARY KEY,
    gateway_refund_no TEXT NOT NULL,
    payment_no        TEXT NOT NULL REFERENCES payment,
    amount            INTEGER NOT NULL CHECK (amount > 0),
    reason            TEXT NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed')),
    ends_as           TEXT NOT NULL,     -- the state it is going to
    ends_at           TEXT,              -- NULL: when somebody settles it
    callbacks         INTEGER NOT NULL,  -- how often its event is sent
    finished_at       TEXT
);
CREATE INDEX refund_payment ON refund (payment_no);
CREATE INDEX refund_finished ON refund (finished_at);
CREATE INDEX refund_open ON refund (ends_at) WHERE state = 'pending' AND ends_at IS NOT NULL;

CREATE TABLE event (
    event_id TEXT PRIMARY KEY,
    subject  TEXT NOT NULL UNIQUE,  -- payment:<no> or refund:<no>: one event each, whoever asks
    url      TEXT NOT NULL,
    body     TEXT NOT NULL
);

CREATE TABLE delivery (
    id       INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL REFERENCES event,
    due_at   TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    state    TEXT NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'delivered', 'given_up'))
);
CREATE INDEX delivery_due ON delivery (due_at) WHERE state = 'due';

CREATE TABLE nonce (nonce TEXT PRIMARY KEY, at TEXT NOT NULL);
CREATE INDEX nonce_age ON nonce (at);

CREATE TABLE page_token (
    token TEXT PRIMARY KEY, payment_no TEXT NOT NULL REFERENCES payment, at TEXT NOT NULL
);
CREATE INDEX page_token_age ON page_token (at);

CREATE TABLE control (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class StoreError(Exception):
    """The file cannot be used: not ours, unreadable, or gone. The text is one clear line."""


class Store:
    """Blocking: call what uses it by `asyncio.to_thread`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=5
            )
            self._db.row_factory = sqlite3.Row
            self._prepare()
            self._inode = path.stat().st_ino
        except (sqlite3.Error, OSError) as e:
            raise StoreError(f"cannot use {path} as the sandbox gateway's database: {e}") from e

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, alone. Raises StoreError or sqlite3.Error when the file is no good."""
        with self._lock:
            self._still_there()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT;")
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"its version is {version}, expected {_VERSION}")

    def _still_there(self) -> None:
        # SQLite writes on into a file that was deleted, and it would all be lost at the end.
        try:
            same = self._path.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise StoreError(f"{self._path} was removed while in use")


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
