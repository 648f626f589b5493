"""The whole call on ledgers of 10^4 and 10^6 records, finished or waiting, in turns."""

from __future__ import annotations

from tests.benchmarks.bench import STEP, Ledger, Result, as_json, create_ledger, median, timed
from tests.benchmarks.bulk import BACKLOG, PER_CALL
from tests.support.server import Server

ROUNDS = 600

# What a million cycles would have left behind, without taking their time.
_FINISH = """
alter table record_ledger.record disable trigger user;
update record_ledger.record
set status = 'COMPLETED', attempt = 1, event_count = 2, last_event = 'completed', lane = null,
    open_pipeline_id = null
where pipeline_id = %s;
insert into record_ledger.claim
select pipeline_id, nextval('record_ledger.claim_token_seq'), window_start_time, null,
    window_start_time, window_start_time
from record_ledger.record where pipeline_id = %s order by window_start_time desc limit 1;
alter table record_ledger.record enable trigger user;
"""


def measure(server: Server, backlog: Ledger, records: int, rounds: int = ROUNDS) -> list[Result]:
    """Measures the call on 10^4 finished records, on 10^6 finished and on 10^6 waiting ones."""
    small = create_ledger(server, "bench_small")
    small.go_to_step(PER_CALL + 10)
    small.connection.execute(
        "select record_ledger.register_pipeline(%s)", [as_json(small.config(BACKLOG))]
    )
    small.connection.execute("call record_ledger.store_new_records(%s)", [BACKLOG])
    backlog.connection.close()
    finished = create_ledger(server, "bench_finished", template="bench_backlog")
    waiting = create_ledger(server, "bench_waiting", template="bench_backlog")
    for ledger in (small, finished):
        for statement in filter(str.strip, _FINISH.split(";")):
            ledger.connection.execute(statement, [BACKLOG] * statement.count("%s"))  # type: ignore[arg-type]
    ledgers = {
        "small": (small, PER_CALL),
        "finished": (finished, records),
        "waiting": (waiting, records),
    }
    for ledger, _ in ledgers.values():
        ledger.connection.execute("vacuum analyze")
    times: dict[str, list[float]] = {name: [] for name in ledgers}
    for turn in range(rounds + 50):
        for name, (ledger, stored) in ledgers.items():
            ledger.go_to_step(stored + 12 + turn)
            config = as_json(ledger.config(BACKLOG))
            passing, record = timed(ledger.cycle, config)
            completing, _ = timed(ledger.complete, record)
            if turn >= 50:
                times[name].append(passing + completing)
    for ledger, _ in ledgers.values():
        ledger.connection.close()
    base = median(times["small"])
    return [
        Result(
            f"the cycle on {records:,} {state} records",
            median(times[state]) / base,
            1.2,
            f"of the cycle on {PER_CALL:,} finished ones ({base:.0f} us, windows of {STEP} s)",
        )
        for state in ("finished", "waiting")
    ]
