"""dbt as a process that loses its record in the middle of a model, or is killed there."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.dbt.shop import BY_HOOKS
from tests.dbt.support import dbt_command, environment

pytestmark = pytest.mark.slow
LOCK = 4711
PAUSE = 0.02
OTHERS_AT_WORK = (
    "select count(*) from pg_stat_activity "
    "where datname = current_database() and application_name = 'dbt'"
)
# Of this database alone: the deploys of other tests on the server wait for advisory locks as well.
WAITING = f"""
    select count(*) from pg_locks
    where locktype = 'advisory' and not granted and objid = {LOCK}
        and database = (select oid from pg_database where datname = current_database())
"""


@pytest.fixture
def start(shop, ledger_dsn, tmp_path):
    """Starts dbt and returns it once it is in the middle of order_shares, where it waits."""
    project = shop.own_project()
    model = project / "models" / "order_shares.sql"
    waiting = f"from {{{{ ref('orders') }}}} cross join (select pg_advisory_xact_lock({LOCK})) as l"
    model.write_text(model.read_text().replace("from {{ ref('orders') }}", waiting))
    shop.open()
    shop.clock.set("2026-03-29T12:00:00Z")  # one window has settled
    started = []

    def start_one(*arguments, run_id="", waits=True):
        process = subprocess.Popen(
            [dbt_command(), *arguments,
             "--project-dir", project, "--profiles-dir", project],
            env=environment(ledger_dsn, tmp_path / run_id, SHOP_RUN_ID=run_id),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        while waits and shop.connection.execute(WAITING).fetchone() == (0,):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(PAUSE)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.stdout.close()
        process.wait()


@pytest.fixture
def gate(connect):
    """A connection that keeps dbt waiting until it lets go."""
    connection = connect()
    connection.execute("select pg_advisory_lock(%s)", [LOCK])
    return lambda: connection.execute("select pg_advisory_unlock_all()")


def test_what_a_run_writes_after_its_record_was_taken_from_it_is_rolled_back(
    start, gate, shop, ledger
):
    process = start("--warn-error", "build", *BY_HOOKS, run_id="a")
    # The same run comes once more, and holds the record from then on.
    shop.clock.advance("2h")
    (record,) = ledger.execute(
        "select record from record_ledger.pass_valid_record('orders', 'a')"
    ).fetchone()
    gate()
    printed = process.communicate()[0]

    assert process.returncode == 1
    assert "claim lost" in printed
    assert shop.loaded("orders") == [("2026-03-28", 48)]
    assert ledger.execute("select to_regclass('analytics.order_shares')").fetchone() == (None,)
    assert shop.records() == [("2026-03-28", "IN_PROGRESS", 2, "a")]
    ledger.execute("select record_ledger.complete_record('orders', %s)", [record["claim_token"]])


def test_the_record_of_a_dbt_that_was_killed_is_passed_again_when_its_lease_is_over(
    start, gate, shop, ledger
):
    start("--warn-error", "build", *BY_HOOKS, run_id="a").kill()
    assert shop.records() == [("2026-03-28", "IN_PROGRESS", 1, "a")]
    gate()
    until_the_server_finds_it_gone(ledger)
    shop.clock.advance("2h")

    outcome = shop("build", run_id="b")

    assert outcome.success, outcome.error
    assert shop.records() == [("2026-03-28", "COMPLETED", 2, "b")]
    assert shop.loaded("order_shares") == [("2026-03-28", 48)]


def test_a_dbt_that_was_killed_and_is_started_again_goes_on_with_its_record_at_once(
    start, gate, shop, ledger
):
    start("--warn-error", "build", *BY_HOOKS, run_id="a").kill()
    gate()
    until_the_server_finds_it_gone(ledger)

    outcome = shop("build", run_id="a")

    assert outcome.success, outcome.error
    assert shop.records() == [("2026-03-28", "COMPLETED", 1, "a")]
    assert shop.loaded() == shop.loaded("order_shares") == [("2026-03-28", 48)]


def until_the_server_finds_it_gone(ledger):
    while ledger.execute(OTHERS_AT_WORK).fetchone() != (0,):
        time.sleep(PAUSE)  # what dbt had asked for goes on


def test_dbt_retry_without_a_run_id_is_refused(start, gate, shop):
    gate()
    shop.spoil_orders_of("2026-03-28T00:00:00+01:00")
    assert start("--warn-error", "build", *BY_HOOKS, waits=False).wait() == 1
    before = shop.records()
    retry = start("retry", waits=False)  # which itself warns, of an option that nobody gave
    assert "dbt retry is a run of its own" in retry.communicate()[0]
    assert retry.returncode != 0
    assert shop.records() == before
