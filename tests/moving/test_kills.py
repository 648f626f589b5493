"""kill -9 at any step of a move, then another run: exactly one copy of every document."""

from __future__ import annotations

import itertools
import os
import signal
import traceback
from functools import partial

import pytest

from record_ledger import RecordLedger
from record_ledger.connection import connect as open_database
from record_ledger.moving import Move, PartSettings
from record_ledger.moving.connectors.local import LocalStage
from record_ledger.moving.connectors.postgres.database import check_claim_in_ledger
from record_ledger.moving.connectors.postgres.source import PostgresSource
from record_ledger.moving.connectors.postgres.target import PostgresTarget
from tests.moving.support import NOON, files_in

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork of its own")


class Deadly:
    """Kills this process before the n-th call of any component, and of the files that they make."""

    def __init__(self, target, steps):
        self._target, self._steps = target, steps

    def __getattr__(self, name):
        method = getattr(self._target, name)

        def call(*arguments):
            if next(self._steps) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            made = method(*arguments)
            return Deadly(made, self._steps) if name == "create" else made

        return call


@pytest.fixture
def sales(connect, clock):
    clock.set(NOON)
    connection = connect()
    connection.execute(
        "create table sales as select n as id, timestamptz '2026-11-21T08:00:00Z' + n * interval "
        "'10 min' as sold_at from generate_series(0, 8) as n"
    )
    return connection


@pytest.fixture
def attempt(ledger_dsn, config, tmp_path):
    """Moves the oldest window in a process of its own, which is killed before its n-th step.

    Returns whether it came to its end.
    """

    def work(pipeline, step):
        opened = partial(open_database, ledger_dsn)
        required = ["source", "stage", "target"]
        wanted = config(pipeline, required_counts=required, max_attempts=9, start_at="2026-11-21")
        steps = itertools.count(-step)
        with RecordLedger(ledger_dsn) as ledger, ledger.processing(wanted) as record:
            move = Move(
                Deadly(ledger, steps),
                Deadly(PostgresSource(opened, "sales", "sold_at", batch_rows=4), steps),
                Deadly(LocalStage(tmp_path), steps),
                Deadly(PostgresTarget(opened, "sold", check_claim=check_claim_in_ledger), steps),
                parts=PartSettings(1),
            )
            move.run(record)
            # Between the move and the completion.
            if next(steps) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def run(pipeline, step=10_000):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(pipeline, step)
                status = 0
            except BaseException:  # noqa: BLE001 - shown, and then the process ends
                traceback.print_exc()
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return not os.WIFSIGNALED(status)

    return run


def check(database, pipeline, folder):
    rows = database.execute(
        "select (document ->> 'id')::int from sold where pipeline_id = %s order by 1", [pipeline]
    ).fetchall()
    assert rows == [(n,) for n in range(9)]
    status = database.execute(
        "select status from record_ledger.pipeline_records where pipeline_id = %s "
        "order by window_start_time limit 1",
        [pipeline],
    ).fetchone()
    assert status == ("COMPLETED",)
    left = "select count(*) from pg_class where relname like 'load%' and relkind = 'r'"
    assert database.execute(left).fetchone() == (0,)
    staged = [name for name in files_in(folder) if name.startswith(f"{pipeline}/")]
    assert sum("manifest" in name for name in staged) == 1
    assert len(staged) == 4  # three parts


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_before_any_step_and_run_again(attempt, sales, clock, tmp_path, every):
    for step in itertools.count(0, every):
        pipeline = f"orders{step}"
        finished = attempt(pipeline, step)
        if not finished:
            clock.advance("2h")  # the lease runs out, and the backoff
            assert attempt(pipeline)
        check(sales, pipeline, tmp_path)
        if finished:
            break
    assert step > 25  # all the steps there are


@pytest.mark.slow
def test_killed_twice_before_any_two_steps_and_run_again(attempt, sales, clock, tmp_path):
    for first, second in itertools.product(range(0, 30, 2), range(0, 30, 3)):
        pipeline = f"orders{first}_{second}"
        for step in (first, second, 10_000):
            if attempt(pipeline, step):
                break
            clock.advance("2h")
        check(sales, pipeline, tmp_path)
