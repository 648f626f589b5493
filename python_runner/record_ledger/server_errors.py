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

# Another try can succeed: the server is starting or stopping, or chose this session as the victim.
_RETRYABLE_SQLSTATES = {"57P01", "57P02", "57P03", "40P01", "40001", "55P03", "53300"}

# A call that is under way in the ledger misses what was there when it began: a deploy has replaced
# it meanwhile. Outside of the ledger's functions the same errors say that nothing is deployed.
_REPLACED_SQLSTATES = {"42883", "42703", "42P01", "42804", "0A000"}
_IN_THE_LEDGER = "function record_ledger."

# libpq reports these without a SQLSTATE when the connection itself is refused; the server's text
# is the only sign that no further try can succeed. (28 = wrong password or user, 3D000 = database.)
_FINAL_CONNECT_TEXTS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "does not exist",
    "permission denied for database",
    "does not support ssl",
    "certificate verify failed",
    "definition of service",
    "invalid port number",
    "invalid integer value",
    "invalid sslmode value",
    "invalid value for parameter",
)


def is_retryable(error: psycopg.Error) -> bool:
    """Tells whether the same call, on a fresh connection, can succeed in a moment."""
    sqlstate = error.sqlstate
    if sqlstate in _REPLACED_SQLSTATES and _IN_THE_LEDGER in (error.diag.context or ""):
        return True
    if sqlstate is not None:
        return sqlstate in _RETRYABLE_SQLSTATES or sqlstate.startswith("08")
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return False
    text = str(error).lower()
    return not any(final in text for final in _FINAL_CONNECT_TEXTS)


def may_have_been_done(error: psycopg.Error) -> bool:
    """Tells whether a statement that was sent, and failed so, may have been committed all the same.

    When the server itself refuses, it was not. When the connection broke, or the server crashed,
    the answer may be all that is missing.
    """
    sqlstate = error.sqlstate
    if sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return sqlstate.startswith("08") or sqlstate == "57P02"


def from_psycopg(error: psycopg.Error) -> LedgerError:
    """Returns the exception that callers see for what the driver raised; passwords are removed."""
    sqlstate = error.sqlstate
    message = redact(error.diag.message_primary or str(error).strip() or type(error).__name__)
    hint = redact(error.diag.message_hint) if error.diag.message_hint else None
    kind = _BY_SQLSTATE.get(sqlstate or "", LedgerError)
    if sqlstate is None and isinstance(error, psycopg.DataError):
        kind = InvalidArgument  # the driver could not send it: a NUL character in a text
    if kind is NotDeployed:
        hint = "Run `record-ledger deploy` on this database as its owner, then try again."
    elif kind is PermissionDenied and hint is None:
        hint = (
            "To use the ledger a user needs the role record_ledger_runner (to look only, "
            "record_ledger_reader); to deploy it, the right to create its schema."
        )
    elif kind is LedgerError and _is_about_the_connection(error):
        kind = LedgerUnavailable
    elif error.diag.message_detail and kind is LedgerError:
        message = f"{message} ({redact(error.diag.message_detail)})"
    return kind(message, sqlstate=sqlstate, hint=hint)


def _is_about_the_connection(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return error.sqlstate.startswith(("08", "28", "57P")) or error.sqlstate in ("3D000", "53300")
