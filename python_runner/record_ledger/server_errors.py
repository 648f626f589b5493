"""Maps what the driver raises to the ledger's exceptions, and tells which calls to try again."""

from __future__ import annotations

import psycopg

from .errors import (
    ClaimLost,
    CountsDisagree,
    DeployRefused,
    IllegalStateChange,
    InvalidArgument,
    InvalidConfig,
    LedgerError,
    LedgerUnavailable,
    NotDeployed,
    PermissionDenied,
    UnknownPipeline,
)
from .redaction import redact

_BY_SQLSTATE: dict[str, type[LedgerError]] = {
    "RL001": InvalidConfig,
    "RL002": UnknownPipeline,
    "RL003": IllegalStateChange,
    "RL004": ClaimLost,
    "RL005": InvalidArgument,
    "RL006": DeployRefused,
    "RL007": CountsDisagree,
    # A value that the parameter's type cannot hold: no number, no time, out of range.
    "22P02": InvalidArgument,
    "22003": InvalidArgument,
    "22007": InvalidArgument,
    "22008": InvalidArgument,
    "42501": PermissionDenied,
    "3F000": NotDeployed,
    "42883": NotDeployed,
    "42P01": NotDeployed,
}

# With these the server ends the session, also where we do not see the severity: class 57P (operator
# intervention) and the limits on how long a session or a transaction may be idle. 25006 leaves the
# session open, on a server that has become a standby or takes no writes for a while.
_GONE = ("08", "57P", "25P03", "25P04", "25006")
_READ_ONLY = "25006"

# The session is sound and another try can succeed. The call was a deadlock's victim, a lock or a
# place for a connection was not free, or the disk was full.
_RETRYABLE_SQLSTATES = {"40P01", "40001", "55P03", "53100", "53200", "53300"}
# A limit of the role on how long a statement may take, or a person who cancels what waits.
_CANCELLED = "57014"

# A call that is under way in the ledger misses what was there when it began: a deploy has replaced
# it meanwhile. Without a context the statement itself is about what is not there.
_REPLACED_SQLSTATES = {"42883", "42703", "42P01", "42804", "0A000"}

# The session was over before the statement began, or the server has undone it: it was not done.
_CERTAINLY_NOT_DONE = {"57P01", "57P03", "57P04", "57P05", "25P03", "25P04"}

# What libpq itself says when it cannot even ask the server, or does not trust it: no SQLSTATE and
# no field goes with it. (What a server answers is known by its SQLSTATE: `refusals`.)
_FINAL_CONNECT_TEXTS = (
    "does not support ssl",
    "certificate verify failed",
    "definition of service",
    "invalid port number",
    "invalid integer value",
    "invalid sslmode value",
)


class NoAnswer(psycopg.OperationalError):
    """The server kept silent, and takes no new connection either: another may have its place."""


class TookTooLong(psycopg.OperationalError):
    """One call took longer than it may; it was cancelled."""


class Unconfirmed(psycopg.OperationalError):
    """It was done on this server alone: waiting for the standby that confirms it was cancelled."""


# PostgreSQL quotes a value that it cannot read whole; the ledger's own messages have bounds.
_LONGEST = 2000

# Where the server warns of that; its text is in the server's language, this is not.
WAITS_FOR_STANDBY = "SyncRepWaitForLSN"


def is_session_gone(error: psycopg.Error) -> bool:
    """Tells whether only a new connection can help: the session ended, or its server changed.

    The severity decides (FATAL and PANIC end a session with any SQLSTATE), then the SQLSTATE;
    without one the connection itself failed.
    """
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return _is_fatal(error) or error.sqlstate.startswith(_GONE)


def is_retryable(
    error: psycopg.Error, *, calls_ledger: bool = True, ends_claim: bool = False
) -> bool:
    """Tells whether the same call, on a fresh connection where needed, can succeed in a moment.

    `calls_ledger` is false for statements that are more than a call of the ledger's routines.
    `ends_claim` asks for more patience: what is done must not be done again because a statement was
    cancelled.
    """
    sqlstate = error.sqlstate
    if sqlstate is None:
        if isinstance(error, TookTooLong):
            return ends_claim
        text = str(error).lower()
        return is_session_gone(error) and not any(final in text for final in _FINAL_CONNECT_TEXTS)
    if sqlstate in _REPLACED_SQLSTATES and calls_ledger and error.diag.context:
        return True
    if ends_claim and sqlstate == _CANCELLED:
        return True
    return sqlstate in _RETRYABLE_SQLSTATES or is_session_gone(error)


def is_retryable_refusal(sqlstate: str | None) -> bool:
    """Tells whether a server that refuses a connection so may accept one in a moment."""
    return sqlstate is None or sqlstate in _RETRYABLE_SQLSTATES or sqlstate.startswith(_GONE)


def may_have_been_done(error: psycopg.Error) -> bool:
    """Tells whether a statement that was sent, and failed so, may have been committed all the same.

    When the server itself refuses, it was not. When the connection broke, or the server crashed,
    the answer may be all that is missing.
    """
    sqlstate = error.sqlstate
    if sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    if sqlstate in _CERTAINLY_NOT_DONE:
        return False
    return sqlstate.startswith("08") or sqlstate == "57P02" or _is_fatal(error)


def is_read_only(error: psycopg.Error) -> bool:
    """Tells whether the server takes no writes: a standby, or default_transaction_read_only."""
    return error.sqlstate == _READ_ONLY


def _is_fatal(error: psycopg.Error) -> bool:
    # severity_nonlocalized: a German server calls FEHLER what this field calls ERROR.
    return error.diag.severity_nonlocalized in ("FATAL", "PANIC")


def from_psycopg(error: psycopg.Error) -> LedgerError:
    """Returns the exception that callers see for what the driver raised; passwords are removed."""
    sqlstate = error.sqlstate
    message = redact(error.diag.message_primary or str(error).strip() or type(error).__name__)
    hint = redact(error.diag.message_hint) if error.diag.message_hint else None
    if not (sqlstate or "").startswith("RL") and len(message) > _LONGEST:
        message = f"{message[:_LONGEST]} ... ({len(message):,} characters)"
    kind = _BY_SQLSTATE.get(sqlstate or "", LedgerError)
    if sqlstate is None and isinstance(error, psycopg.DataError):
        kind = InvalidArgument  # the driver could not send it: a NUL character in a text
    if error.pgconn is not None:
        # No connection was made: the error is about the connection, and not about the ledger.
        return LedgerUnavailable(message, sqlstate=sqlstate, hint=hint or advice(sqlstate))
    if kind is NotDeployed:
        hint = "Run `record-ledger deploy` on this database as its owner, then try again."
    elif kind is PermissionDenied and hint is None:
        hint = (
            "To use the ledger a user needs the role record_ledger_runner (to look only, "
            "record_ledger_reader); to change what belongs to its owner, the owner's role."
        )
    elif kind is LedgerError and _is_about_the_connection(error):
        kind = LedgerUnavailable
    elif error.diag.message_detail and kind is LedgerError:
        message = f"{message} ({redact(error.diag.message_detail)})"
    return kind(message, sqlstate=sqlstate, hint=hint)


def _is_about_the_connection(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return is_session_gone(error) or error.sqlstate.startswith(("28", "3D", "53"))


def advice(sqlstate: str | None) -> str:
    """Returns what to do when the database could not be reached, by how the server refused."""
    for start, text in _ADVICE.items():
        if (sqlstate or "").startswith(start):
            return text
    return "Check the address (--dsn, RECORD_LEDGER_DSN or PGHOST ...) and that it is running."


_ADVICE = {
    "25006": "It is a standby, or default_transaction_read_only is on (`record-ledger doctor` says "
    "which). Where several servers share the work, name them all in the connection string and add "
    "target_session_attrs=read-write, which finds the one that takes writes.",
    "28": "Check the user, the password and the server's pg_hba.conf.",
    "3D": "Check the name of the database (dbname, PGDATABASE).",
    "42501": "Have the owner of the database grant the user the right to connect to it.",
    "53300": "The server, the database or the user has no connection left: end sessions that are "
    "not needed, raise max_connections or the role's or database's connection limit, or connect "
    "through PgBouncer.",
    "53100": "Free space on the server's disk.",
    "53": "The server is short of memory or another resource; its log says more.",
}
