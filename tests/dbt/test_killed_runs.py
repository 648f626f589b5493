"""A dbt that is killed while it works: its window is loaded by another run, and once."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.dbt.shop import BY_HOOKS
from tests.dbt.support import dbt_command, environment

DEADLINE = 300.0


@pytest.mark.slow
def test_the_window_of_a_killed_dbt_is_loaded_by_a_later_run_and_once(shop, connect, tmp_path):
    shop.open()
    shop.clock.set("2026-04-02T12:00:00Z")
    kill_in_the_middle(shop, connect, tmp_path / "killed", run_id="a")

    # Its lease goes on, so another run is passed the next window.
    assert shop("run", run_id="b").success
    assert shop.loaded() == [("2026-03-29", 46)]
    shop.clock.advance("2h")
    assert shop("run", run_id="c").success

    assert shop.loaded() == shop.loaded("order_shares") == [("2026-03-28", 48), ("2026-03-29", 46)]
    assert shop.records() == [
        ("2026-03-28", "COMPLETED", 2, "c"),
        ("2026-03-29", "COMPLETED", 1, "b"),
    ]


@pytest.mark.slow
def test_a_killed_dbt_that_is_started_again_goes_on_with_its_window_at_once(
    shop, connect, tmp_path
):
    shop.open()
    shop.clock.set("2026-04-02T12:00:00Z")
    kill_in_the_middle(shop, connect, tmp_path / "killed", run_id="a")
    assert shop("run", run_id="a").success
    assert shop.loaded() == [("2026-03-28", 48)]
    assert shop.records() == [("2026-03-28", "COMPLETED", 1, "a")]


def kill_in_the_middle(shop, connect, folder, run_id):
    """Kills a dbt of its own that has its record and waits, with a model begun, for a lock."""
    with connect(dsn=shop.dbt.dsn) as holder, holder.transaction():
        holder.execute("lock table raw.orders")
        with subprocess.Popen(
            [dbt_command(), "--quiet", "run", *BY_HOOKS,
             "--project-dir", shop.dbt.project, "--profiles-dir", shop.dbt.project],
            env=environment(shop.dbt.dsn, folder, SHOP_RUN_ID=run_id),
            stdin=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                until_it_waits(shop, process)
            finally:
                process.kill()
    assert [record[1:] for record in shop.records()] == [("IN_PROGRESS", 1, run_id)]


def until_it_waits(shop, process):
    waiting = (
        "select from pg_locks where not granted and relation = 'raw.orders'::regclass"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    deadline = time.monotonic() + DEADLINE
    while not shop.connection.execute(waiting).fetchall():
        assert process.poll() is None, "it ended"
        assert time.monotonic() < deadline, f"no model began within {DEADLINE} s"
        time.sleep(0.01)
