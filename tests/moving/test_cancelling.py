"""A move whose claim is cancelled stops between its batches and phases, and publishes nothing."""

from __future__ import annotations

import json

import pytest

from record_ledger import ClaimCancelled, RecordLedger
from record_ledger.cli import main
from record_ledger.cli.commands import pipeline as command
from record_ledger.moving.evidence import REQUIRED_COUNTS
from tests.moving.support import files_in, ids
from tests.runner.processes import until

pytestmark = pytest.mark.slow

WHY = "wrong input"
DAY = "2026-11-21", "2026-11-22"


class CancelsAt:
    """Cancels the claim in the n-th call, waits until a beat tells, and checks in each call."""

    def __init__(self, dsn, work, rows, number):
        self._dsn, self._work, self._rows, self._left = dsn, work, rows, number

    def before_phase(self):
        self(0)

    def __call__(self, rows):
        if bool(rows) == self._rows:
            self._left -= 1
            if self._left == 0:
                with RecordLedger(self._dsn) as operator:
                    assert operator.cancel_records("orders", *DAY, WHY) == 1
                until(lambda: self._work._heartbeat.cancellation, "a beat that tells of it")
        self._work.check()


def states(ledger):
    return [one["status"] for one in ledger.pipeline_records("orders", limit=2)]


@pytest.mark.parametrize(
    ("rows", "number", "noted"),
    [
        pytest.param(False, 1, [], id="before it is extracted"),
        pytest.param(True, 3, [], id="between two batches"),
        pytest.param(False, 2, ["source", "stage"], id="before it is loaded"),
        pytest.param(False, 3, ["source", "stage", "load"], id="before it is published"),
    ],
)
def test_a_cancelled_move_stops_and_publishes_nothing(
    ledger, ledger_dsn, database, move_of, config, rows, number, noted
):
    wanted = config("orders", required_counts=REQUIRED_COUNTS, lease="3s")
    with ledger.processing(wanted) as record:
        move_of().run(record)
    before = ids(database)
    ledger.reopen_records("orders", *DAY, "once more")
    database.execute("update sales set id = id + 1000")
    work = ledger.processing(wanted)

    def move():
        with work as record:
            cancels = CancelsAt(ledger_dsn, work, rows, number)
            move_of(progress=cancels, check_work=cancels.before_phase).run(record)

    with pytest.raises(ClaimCancelled, match=WHY):
        move()

    assert ids(database) == before
    found = ledger.pipeline_records("orders")[0]
    assert (found["status"], found["last_event"]) == ("FAILED", "failed")
    assert found["last_detail"]["error"].endswith(f": {WHY}")
    seen = ledger.record_observations("orders", found["window_start_time"])
    assert [one["stage"] for one in seen if one["generation"] == 2] == noted
    # Reopened, it is moved as ever.
    ledger.reopen_records("orders", *DAY, "it was right")
    with ledger.processing(wanted) as record:
        move_of().run(record)
    assert ids(database) == [one + 1000 for one in before]


def test_the_command_ends_with_the_reason_and_leaves_no_part_behind(
    ledger, ledger_dsn, database, config, tmp_path, monkeypatch, capsys
):
    real = command._Reading.__call__

    def reading(self, rows):
        if rows:
            CancelsAt(ledger_dsn, self._work, True, 1)(rows)
        real(self, rows)

    monkeypatch.setattr(command._Reading, "__call__", reading)
    monkeypatch.setenv("RECORD_LEDGER_DSN", ledger_dsn)
    path = tmp_path / "orders.json"
    path.write_text(
        json.dumps(
            {
                **config("orders", lease="3s"),
                "source": {"kind": "postgres", "table": "sales", "time_column": "sold_at"},
                "stage": {"kind": "local", "folder": str(tmp_path / "staged")},
                "target": {"kind": "postgres", "table": "sold"},
            }
        )
    )

    assert main(["pipeline", "run", "--config", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f": {WHY}" in err and "cancelled by" in err and "Traceback" not in err
    assert states(ledger)[0] == "FAILED"
    assert files_in(tmp_path / "staged") == []
