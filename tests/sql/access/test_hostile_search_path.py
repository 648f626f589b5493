"""Routines that run with their owner's rights find the catalogue's objects in every caller's session."""

from __future__ import annotations

import pytest
from psycopg.types.json import Jsonb

from tests.sql.counts.counting import count
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
    rows,
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
    in_steps = "call record_ledger.range_in_steps(%s, %s, '2026-11-01', '2026-12-01', 'why', null)"
    for operation in ("waive", "reopen"):
        assert runner.execute(in_steps, [operation, PIPELINE]).fetchone()[0] > 0
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


# Each fits its call better than what the catalogue has: an exact match beats "any", a wider type and an untyped literal.
TRAPS = {
    "function to_json(timestamptz)": ("json", "'1'"),
    "function concat(text, text, text)": ("text", "'x'"),
    **{f"function format({', '.join(['text'] * n)})": ("text", "'x'") for n in range(2, 6)},
    "function array_to_string(text[], text)": ("text", "'x'"),
    "function cardinality(text[])": ("integer", "1"),
    **{
        f"operator {name}({left}, {right})": (returns, value)
        for left, right in [("numeric", "integer"), ("numeric", "bigint"), ("integer", "numeric")]
        for name, returns, value in [("*", "numeric", "1"), ("/", "numeric", "1"), ("=", "boolean", "false"),
                                     ("<=", "boolean", "true")]
    },
    "operator ->(jsonb, jsonb)": ("jsonb", "'1'"), "operator ->>(jsonb, jsonb)": ("text", "'1'"),
    "operator ?(jsonb, jsonb)": ("boolean", "true"), "operator ||(integer, text)": ("text", "'x'"),
    "operator ||(numeric, text)": ("text", "'x'"),
}  # fmt: skip


def test_no_reader_of_a_view_runs_what_another_role_has_put_in_the_search_path(
    ledger, connect, clock, config
):
    clock.set(NOW)
    both = {"stages": ["source", "target"], "tolerance": "0.5%"}
    given = config(
        PIPELINE, start_at="2026-11-15", granularity="5h1m1s", required_counts=both,
        source_retention="30d", fields={"key_x": ""}, max_attempts=2,
    )  # fmt: skip
    held = cycle(ledger, given, "a")
    count(ledger, held, source=1000, target=1000)
    complete(ledger, held.token)
    clock.advance("1h")
    ledger.execute(
        "select record_ledger.observe_record('orders', %s, 'source', 2000)", [held.start]
    )
    for retry in (True, False):
        fail(ledger, cycle(ledger, given, None).token, retry=retry)
    cycle(ledger, given, "held")
    # Rebuilt, so that records_as_of has something to undo.
    template = {**given["default_record"], "key_x": "a"}
    cycle(ledger, {**given, "check_fields": ["key_x"], "default_record": template}, "b")
    ledger.execute("create schema everyones; grant all on schema everyones to public")
    runner = connect(role="runner")
    runner.execute("create table everyones.trap (what text)")
    runner.execute("grant all on everyones.trap to public")
    for number, (what, (returns, value)) in enumerate(TRAPS.items()):
        kind, _, signature = what.partition(" ")
        name, _, arguments = signature.rstrip(")").partition("(")
        function = name if kind == "function" else f"trap_{number}"
        runner.execute(
            f"create function everyones.{function}({arguments}) returns {returns} language sql volatile "
            f"as $$ insert into everyones.trap values ('{what}'); select {value}::{returns} $$"
        )
        if kind == "operator":
            left, right = arguments.split(", ")
            runner.execute(
                f"create operator everyones.{name} "
                f"(leftarg = {left}, rightarg = {right}, function = everyones.{function})"
            )
    victim = connect()
    victim.execute("set search_path = everyones")
    views = rows(
        ledger,
        "select relname from pg_class where relkind = 'v' and relnamespace = 'record_ledger'::regnamespace",
    )
    for view in [*(name for (name,) in views), f"records_as_of('{NOW}')"]:
        victim.execute(f"select * from record_ledger.{view}").fetchall()
    assert rows(ledger, "select distinct what from everyones.trap") == []


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
