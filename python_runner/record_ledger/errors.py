"""One exception class per SQLSTATE that a caller can act on, with the server's own message."""

from __future__ import annotations

from .redaction import redact


class LedgerError(Exception):
    """Says what the ledger refused and why.

    `message` is the server's sentence, `hint` its advice (or None), `sqlstate` its five-character
    code (None when no server was reached). `str(error)` is both sentences. Passwords are removed
    from both here: also a library's message may quote the settings that it was given.
    """

    def __init__(
        self, message: str, *, sqlstate: str | None = None, hint: str | None = None
    ) -> None:
        message, hint = redact(message), redact(hint) if hint else hint
        super().__init__(message if not hint else f"{message}\n{hint}")
        self.message = message
        self.sqlstate = sqlstate
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Airflow and multiprocessing carry exceptions between processes by pickling them.
        return _restore, (type(self), self.message, self.sqlstate, self.hint)


def _restore(
    kind: type[LedgerError], message: str, sqlstate: str | None, hint: str | None
) -> LedgerError:
    return kind(message, sqlstate=sqlstate, hint=hint)


class InvalidConfig(LedgerError):
    """The config is wrong (RL001); the message names every key, its value and what is valid."""


class UnknownPipeline(LedgerError):
    """No pipeline of that name is registered (RL002)."""


class IllegalStateChange(LedgerError):
    """The record's state does not allow the change (RL003); nothing was changed."""


class ClaimLost(LedgerError):
    """The claim token is not the record's current one (RL004); nothing was changed."""


class ClaimCancelled(LedgerError):
    """An operator wants the work to stop (`cancel_records`); the claim is still held until it has.

    `cancelled_by` says who, `reason` why. It is not a ClaimLost: the run that stops ends its claim,
    and the record then has failed for good.
    """

    cancelled_by: str = ""
    reason: str = ""

    @classmethod
    def by(cls, cancelled_by: str, reason: str) -> ClaimCancelled:
        """Returns the error that names the operator and the reason."""
        error = cls(
            f"cancelled by {cancelled_by}: {reason}",
            hint="Stop working on this record. It has failed for good once its claim has ended; "
            "`record-ledger reopen` has it processed once more.",
        )
        error.cancelled_by, error.reason = cancelled_by, redact(reason)
        return error

    def __reduce__(self) -> tuple[object, ...]:
        made = _restore, (type(self), self.message, self.sqlstate, self.hint)
        return *made, {"cancelled_by": self.cancelled_by, "reason": self.reason}


class InvalidArgument(LedgerError):
    """An argument is wrong (RL005); nothing was changed."""


class DeployRefused(LedgerError):
    """The database may not be deployed to (RL006): a newer release, or an edited migration."""


class CountsDisagree(LedgerError):
    """The counts that the config requires do not agree (RL007); the record is still claimed."""


class NotDeployed(LedgerError):
    """The database holds no ledger, or an older one that lacks what was called."""


class PermissionDenied(LedgerError):
    """The database user lacks a right (42501)."""


class LedgerUnavailable(LedgerError):
    """No connection could be made or kept, after the tries that were allowed."""
