"""dbt and the runs of pipelines do not get into each other's way."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.dbt.support import (
    PROJECT,
    RULES,
    WITHOUT_UNIT_TESTS,
    catalog_of_the_ledger,
    dbt_command,
    environment,
    rows_of,
)
from tests.support.repository import ROOT

BUILDS = 4
WORKERS = 2
PIPELINES = 2
CYCLES = 200


@pytest.mark.slow
def test_four_builds_at_once_while_records_are_passed_fail_nothing_on_either_side(
    ledger, ledger_dsn, routines, tmp_path
):
    routines.clock.set("2026-11-22T20:00:00Z")
    for number in range(PIPELINES):
        # More windows than can be done meanwhile.
        config = routines.register(f"p{number}", start_at="2026-10-30", granularity="1s")
        for _ in range(3):
            routines.cycle(config)
    before = catalog_of_the_ledger(ledger)

    workers = [_start_worker(ledger_dsn, f"p{n % PIPELINES}") for n in range(WORKERS)]
    try:
        # The first four create the schema and the views, the others replace them.
        builds = _build_at_once(ledger_dsn, tmp_path)
        builds += _build_at_once(ledger_dsn, tmp_path, *WITHOUT_UNIT_TESTS)
    finally:
        reports = [json.loads(worker.communicate()[0]) for worker in workers]

    assert [status for status, _ in builds] == [0] * BUILDS * 2, "\n".join(
        printed for status, printed in builds if status != 0
    )
    assert [report["errors"] for report in reports] == [[]] * WORKERS
    assert all(report["completed"] >= CYCLES for report in reports)
    (completed,) = ledger.execute(
        "select count(*) from record_ledger.pipeline_records where status = 'COMPLETED'"
    ).fetchone()
    assert completed == sum(report["completed"] for report in reports)
    assert {rule: rows_of(ledger, rule) for rule in RULES} == {rule: [] for rule in RULES}
    assert catalog_of_the_ledger(ledger) == before


def _start_worker(dsn, pipeline_id):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.dbt.worker", dsn, pipeline_id, str(CYCLES)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _build_at_once(dsn, folder, *options):
    """Returns (status, what it printed) of each of the builds."""
    started = [
        subprocess.Popen(
            [dbt_command(), "--warn-error", "build", *options,
             "--project-dir", PROJECT, "--profiles-dir", PROJECT],
            env=environment(dsn, folder / f"dbt{number}"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number in range(BUILDS)
    ]  # fmt: skip
    printed = [build.communicate()[0] for build in started]
    return [(build.returncode, text) for build, text in zip(started, printed, strict=True)]
