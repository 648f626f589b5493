"""Random histories against the model, one batch after another, for as long as there is time."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import hypothesis

from tests.reliability.report import Result
from tests.reliability.state_machine import STEPS, check_histories
from tests.support.clock import Clock
from tests.support.databases import deploy, open_connection
from tests.support.server import Server

BATCH = 10
# To shorten a failing history takes minutes; give its seed to `check_histories` for that.
PHASES = (hypothesis.Phase.generate,)

# A database answers when it answers.
hypothesis.settings.register_profile(
    "reliability",
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


def run_histories(_folder: Path, seed: int, seconds: float) -> Result:
    """Any routine at any time does what the model says, and the ledger is sound after each history."""
    result = Result("histories against the model")
    server = Server(durable=False)
    before = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.load_profile("reliability")
    with result.timed():
        try:
            server.start()
            until = time.monotonic() + seconds
            for batch in count():
                # A database of its own for each: an audit looks at all that is in one.
                with open_connection(server.dsn()) as admin:
                    admin.execute(f"create database histories_{batch}")
                dsn = server.dsn(f"histories_{batch}")
                deploy(dsn)
                with open_connection(dsn) as ledger, open_connection(dsn) as clock:
                    check_histories(ledger, Clock(clock), BATCH, seed * 1_000_003 + batch, PHASES)
                result.counts["histories"] += BATCH
                result.counts["steps, about"] += BATCH * STEPS
                with open_connection(server.dsn()) as admin:
                    admin.execute(f"drop database histories_{batch}")
                if time.monotonic() > until:
                    break
        finally:
            hypothesis.settings.load_profile(before)
            server.remove()
    return result
