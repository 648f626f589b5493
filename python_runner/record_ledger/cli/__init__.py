"""The command `record-ledger`."""

from .main import main as main
