"""Tests of the record ledger: a package, so that they can share `tests.support`."""
