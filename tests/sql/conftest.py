"""Fixtures of the ledger's tests that more than one file takes."""

from __future__ import annotations

import pytest

from tests.sql.statuses import START, hour
from tests.sql.support import PIPELINE


@pytest.fixture
def static(clock, config):
    """Makes configs without templates, of hours in UTC from the 22nd on; it is 03:00 of that day."""
    clock.set(hour(3))

    def make(fields, **changes):
        given = config(
            PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START.isoformat()
        )
        given["default_record"] = {"pipeline_id": PIPELINE, **fields}
        return given | changes

    return make
