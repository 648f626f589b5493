"""A helper of the tests of the network."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict


def socket_of(dsn: str) -> Path:
    """The Unix socket of a test database's server; skips the test where it has none."""
    found = conninfo_to_dict(dsn)
    if not str(found.get("host")).startswith("/"):
        pytest.skip("the server is not reached by a Unix socket")
    return Path(f"{found['host']}/.s.PGSQL.{found.get('port') or 5432}")
