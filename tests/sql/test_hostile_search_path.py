"""What runs with its owner's rights finds what it means, whatever the caller's session has in the way."""

from __future__ import annotations

import pytest
from psycopg.types.json import Jsonb

from tests.sql.counting import count
from tests.sql.support import (
    NOW,
    PIPELINE,
    archive,
    backfill,
    complete,
    cycle,
    extend,
    fail,
    on_pipeline,
    operate,
    pass_valid,
    refused,
    release,
)


def test_a_hostile_search_path_cannot_hijack_what_acts_as_the_owner(ledger, connect, clock, config):
    clock.set(NOW)
    runner = connect(role="runner")
    who = runner.info.user
    ledger.execute(f'create schema evil authorization "{who}"')
    runner.execute("create temporary table trap (who text)")
    runner.execute("grant all on trap to public")
    spring = "insert into trap values (current_user)"
    for name, arguments, returns, value in [
        ("lower", "text", "text", "$1"),
        ("now", "", "timestamptz", "null::timestamptz"),
        ("clock_timestamp", "", "timestamptz", "null::timestamptz"),
        ("nextval", "regclass", "bigint", "1::bigint"),
        ("jsonb_typeof", "jsonb", "text", "'object'::text"),
        ("format", "text", "text", "$1"),
        ("set_config", "text, text, boolean", "text", "$2"),
    ]:
        for schema in ("evil", "pg_temp"):
            runner.execute(
                f"create function {schema}.{name}({arguments}) returns {returns} language sql volatile "
                f"as $$ {spring}; select {value} $$"
            )
    runner.execute(
        f"create function evil.equals(text, text) returns boolean language sql as $$ {spring}; select true $$"
    )
    runner.execute(
        "create operator evil.= (leftarg = text, rightarg = text, function = evil.equals)"
    )
    for table in (
        "pipeline", "record", "claim", "record_event", "archived_record", "archived_record_event",
        "pg_timezone_names",
    ):  # fmt: skip
        runner.execute(
            f"create temporary table {table} (pipeline_id text, config jsonb, name text)"
        )
    runner.execute("set search_path = evil, pg_temp, record_ledger, pg_catalog")

    given = config(PIPELINE, check_fields=["source_name"])
    runner.execute("select record_ledger.register_pipeline(%s)", [Jsonb(given)])
    runner.execute("call record_ledger.store_new_records(%s)", [PIPELINE])
    answer = cycle(runner, given, "a")
    assert answer.record is None or answer.record["run_id"] == "a"
    clock.advance("1d")
    for call in (complete, fail, release):
        call(runner, pass_valid(runner, PIPELINE).token)
    extend(runner, pass_valid(runner, PIPELINE).token)
    runner.execute("select * from record_ledger.oldest_pending_record(%s)", [PIPELINE])
    runner.execute("select * from record_ledger.new_windows(%s)", [PIPELINE])
    runner.execute("select * from record_ledger.pipeline_progress")
    pass_valid(runner, PIPELINE)
    for operation in ("expire", "waive", "reopen", "backfill"):
        assert runner.execute(
            "select * from record_ledger.range_effects(%s, %s, '2026-11-01', '2026-12-01')",
            [operation, PIPELINE],
        ).fetchall()
    for operation in ("expire", "waive", "reopen"):
        assert operate(runner, operation, "2026-11-01", "2026-12-01") > 0
    backfill(runner, "2026-11-20")
    for verb in ("pause", "retire", "resume"):
        on_pipeline(runner, verb)
    complete(runner, pass_valid(runner, PIPELINE).token)
    assert archive(runner, NOW) == 1
    runner.execute("select * from record_ledger.archivable_records(%s, %s)", [PIPELINE, NOW])

    # What runs as the caller may be fooled by its own traps; nothing of the owner's was.
    sprung = {
        name for (name,) in runner.execute("select distinct who from pg_temp.trap").fetchall()
    }
    assert sprung <= {who}


@pytest.mark.parametrize("tolerance", ["5 rows", "0.5%"])
def test_counts_are_judged_alike_for_a_session_that_reads_backslashes_in_texts(
    ledger, clock, config, tolerance
):
    clock.set(NOW)
    both = {"stages": ["source", "target"], "tolerance": tolerance}
    held = cycle(ledger, config(PIPELINE, required_counts=both))
    ledger.execute("set standard_conforming_strings = off")
    count(ledger, held, source=1000, target=994)
    with refused("RL007", f"target 994 .off by 6, tolerance {tolerance}"):
        complete(ledger, held.token)
    count(ledger, held, target=995)
    complete(ledger, held.token)
