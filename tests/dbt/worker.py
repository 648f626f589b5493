"""A run of a pipeline as a process of its own: passes and completes until its input ends.

    python -m tests.dbt.worker DSN PIPELINE CYCLES

Makes at least that many cycles and goes on until its standard input ends. Prints what it did, as
JSON; an error does not end it.
"""

from __future__ import annotations

import json
import sys
import threading

import psycopg

from tests.support.databases import Connection, open_connection


def main() -> None:
    dsn, pipeline_id, cycles = sys.argv[1], sys.argv[2], int(sys.argv[3])
    asked_to_stop = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        asked_to_stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    completed = 0
    errors: list[str] = []
    with open_connection(dsn) as connection:
        while completed + len(errors) < cycles or not asked_to_stop.is_set():
            try:
                completed += _pass_and_complete(connection, pipeline_id)
            except psycopg.Error as error:  # noqa: PERF203 (the next cycle must go on)
                errors.append(f"{error.sqlstate}: {error}")
    print(json.dumps({"completed": completed, "errors": errors}))


def _pass_and_complete(connection: Connection, pipeline_id: str) -> bool:
    row = connection.execute(
        "select record from record_ledger.pass_valid_record(%s, null)", [pipeline_id]
    ).fetchone()
    assert row is not None
    if row[0] is None:  # all that was stored is done
        return False
    connection.execute(
        "select record_ledger.complete_record(%s, %s)", [pipeline_id, row[0]["claim_token"]]
    )
    return True


if __name__ == "__main__":
    main()
