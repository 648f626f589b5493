"""What can go wrong while data is moved; all are LedgerErrors, so one `except` catches them."""

from __future__ import annotations

from record_ledger.errors import LedgerError

READ_AGAIN = "The next attempt reads the window from its source again."


class MoveFailed(LedgerError):
    """A window could not be moved; what is published is as it was before."""


class StagedDataDamaged(MoveFailed):
    """A staged file is missing, or is not what its manifest says."""
