"""The exit codes of `record-ledger`, and the error that ends a command with a sentence."""

from __future__ import annotations

PROCEED = 0
FAILED = 1
NOTHING_TO_DO = 99
SIGNAL_CODE = 128  # and the number of the signal, as shells count


class CommandError(Exception):
    """Carries one clear message to standard error; the command exits with 1."""
