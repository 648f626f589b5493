"""The calls of one cycle against a bare commit, all measured in turns on one server."""

from __future__ import annotations

from record_ledger import RecordLedger
from tests.benchmarks.bench import Result, as_json, create_ledger, median, timed
from tests.support.server import Server

ROUNDS = 1500


def measure(server: Server, rounds: int = ROUNDS) -> list[Result]:
    """Measures the whole call in SQL and through Python, completing, and a call that exits."""
    ledger = create_ledger(server, "bench_calls")
    in_sql = as_json(ledger.config("in_sql"))
    idle = as_json({**ledger.config("idle"), "x_time_back": "36500d"})
    in_python = ledger.config("in_python")
    times: dict[str, list[float]] = {
        name: [] for name in ("bare", "sql", "complete", "python", "exit")
    }
    ledger.go_to_step(0)
    with RecordLedger(ledger.dsn) as runner:
        for step in range(2, rounds + 52):
            ledger.go_to_step(step)
            spent = {}
            spent["bare"], _ = timed(ledger.bare_commit)
            spent["sql"], record = timed(ledger.cycle, in_sql)
            spent["complete"], _ = timed(ledger.complete, record)
            spent["python"], result = timed(
                runner.store_new_and_pass_valid_record, in_python, ledger.run_id()
            )
            spent["exit"], _ = timed(ledger.exit, idle)
            ledger.complete(result.record)
            # The first rounds fill caches and plans.
            if step >= 52:
                for name, spent_us in spent.items():
                    times[name].append(spent_us)
    ledger.connection.close()
    middle = {name: median(values) for name, values in times.items()}
    of_bare = f"of a bare one-row insert commit ({middle['bare']:.0f} us)"
    return [
        Result("store + pass, in SQL", middle["sql"] / middle["bare"], 2.0, of_bare),
        Result("store + pass, through Python", middle["python"] / middle["bare"], 2.5, of_bare),
        Result("a call that exits", middle["exit"] / middle["bare"], 0.7, of_bare),
        Result(
            "store + pass + complete, in SQL",
            (middle["sql"] + middle["complete"]) / middle["bare"],
            3.5,
            of_bare,
        ),
    ]
