"""What a call costs the process that makes it: CPU of Python, beside what libpq alone needs for it.

The same call is made in several ways, in turns, by one process: by RecordLedger, by cursors of
psycopg that hand out the answer as it came, and by libpq alone, which sends a prepared statement
and waits for its answer in C. Only CPU of this process counts, the system's part of sending,
waiting and receiving included; the server's is not in it. What RecordLedger's call needs beyond
libpq's is Python's own: the ledger, psycopg and JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from psycopg import pq

from record_ledger import RecordLedger, queries
from record_ledger.connection import Connection
from tests.benchmarks.bench import as_json, create_ledger
from tests.benchmarks.report import Report, Result
from tests.support.databases import open_connection
from tests.support.server import Server

ROUNDS = 30
CALLS = 300
# Python's own CPU of a call that exits; it depends on the machine, as no ratio does.
GOAL_US = 25.0
_RUN = "dag/2026-11-22/extract"
_NAME = b"baseline"


def measure(server: Server, report: Report, rounds: int = ROUNDS, calls: int = CALLS) -> None:
    """Measures a call that exits, and JSON by itself; in microseconds of CPU of a call."""
    bench = create_ledger(server, "bench_client")
    # No window is due for years, though the clock goes on with every call.
    config = bench.config("exits", start_at="2030-01-01T00:00:00+00:00")
    sent = [as_json(config), _RUN, "[]"]
    with (
        RecordLedger(bench.dsn) as ledger,
        open_connection(bench.dsn) as plain,
        open_connection(bench.dsn, prepare_threshold=0) as preparing,
        open_connection(bench.dsn) as direct,
    ):
        answer = ledger.store_new_and_pass_valid_record(config, _RUN)
        assert answer.exit_dag, answer

        libpq = direct.pgconn
        _prepare(libpq, queries.STORE_NEW_AND_PASS_VALID_RECORD)
        encoded = [text.encode() for text in sent]

        def by_cursor() -> bytes | None:
            cursor = plain.execute(queries.STORE_NEW_AND_PASS_VALID_RECORD, sent, binary=True)
            assert cursor.pgresult is not None
            return cursor.pgresult.get_value(0, 0)

        kept = preparing.cursor(binary=True)

        def by_kept_cursor() -> bytes | None:
            kept.execute(queries.STORE_NEW_AND_PASS_VALID_RECORD, sent)
            assert kept.pgresult is not None
            return kept.pgresult.get_value(0, 0)

        raw = by_cursor()
        assert raw is not None

        session, text = ledger._session, queries.STORE_NEW_AND_PASS_VALID_RECORD

        def json_alone() -> Any:
            json.dumps(config, ensure_ascii=False, allow_nan=False)
            return json.loads(raw)

        spent = _in_turns(
            {
                "ledger": lambda: ledger.store_new_and_pass_valid_record(config, _RUN),
                "cursor": by_cursor,
                "kept cursor": by_kept_cursor,
                "value": lambda: session.run("value", Connection.value, text, sent),
                "libpq": lambda: libpq.exec_prepared(
                    _NAME, encoded, result_format=pq.Format.BINARY
                ),
                "json": json_alone,
            },
            rounds,
            calls,
        )
    bench.connection.close()
    report.series["client"] = [
        {"name": name, "cpu_us": round(time_each, 1)} for name, time_each in spent.items()
    ]
    own = spent["ledger"] - spent["libpq"]
    of_libpq = f"of libpq alone ({spent['libpq']:.1f} us of CPU)"
    report.add(
        "the client's CPU of a call that exits",
        [
            Result("Python's own", own / GOAL_US, 1.0, f"of {GOAL_US:.0f} us ({own:.1f} us)"),
            Result("RecordLedger's call", spent["ledger"] / spent["libpq"], None, of_libpq),
            Result(
                "what it sends, without the rest", spent["value"] / spent["libpq"], None, of_libpq
            ),
            Result(
                "a cursor that is kept and prepares",
                spent["kept cursor"] / spent["libpq"],
                None,
                of_libpq,
            ),
            Result("a new cursor", spent["cursor"] / spent["libpq"], None, of_libpq),
            Result("JSON of config and answer", spent["json"] / spent["libpq"], None, of_libpq),
        ],
    )


def _prepare(libpq: pq.abc.PGconn, statement: str) -> None:
    for number in range(1, statement.count("%s") + 1):
        statement = statement.replace("%s", f"${number}", 1)
    prepared = libpq.prepare(_NAME, statement.encode())
    assert prepared.status == pq.ExecStatus.COMMAND_OK, prepared.get_error_message()


def _in_turns(ways: dict[str, Callable[[], object]], rounds: int, calls: int) -> dict[str, float]:
    """Returns the CPU of one call in the best round, in microseconds: what disturbs only adds."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, call in ways.items():
            began = time.process_time()
            for _ in range(calls):
                call()
            found[name].append((time.process_time() - began) / calls * 1e6)
    # The first round warms up.
    return {name: min(times[1:]) for name, times in found.items()}
