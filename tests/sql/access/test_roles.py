"""Roles: a reader reads, a runner also runs, and neither touches a table; no role can hijack the routines."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.counts.counting import adopt, observe, waive_counts
from tests.sql.support import (
    NOW,
    PIPELINE,
    archive,
    backfill,
    complete,
    cycle,
    effects,
    extend,
    fail,
    on_pipeline,
    one,
    operate,
    pass_valid,
    refused,
    register,
    release,
    rows,
    store,
)
from tests.support.sql_headers import public_objects

PUBLIC = public_objects()
VIEWS = {name for name, (kind, _, _) in PUBLIC.items() if kind == "view"}
TOKENS_OF_CLAIMS = {"pipeline_records", "record_events", "record_observations"}
# It commits, so it runs as its caller.
COMMITS = {"range_in_steps"}
# It is taken into its caller's query, and runs as its caller.
INLINED = {"records_as_of"}
ROUTINES_OF = {
    role: {
        name for name, (kind, _, for_role) in PUBLIC.items() if kind != "view" and for_role == role
    }
    for role in ("reader", "runner")
}
READS = ROUTINES_OF["reader"] - INLINED
WRITES = ROUTINES_OF["runner"] - COMMITS
# What the views and analysts ask. All but the last ones run as their caller.
RULES = {
    "attempt_ending", "clock", "config_keys", "config_problems", "count_tolerance", "day_start", "duration",
    "edit_distance", "first_window_start", "instant", "is_stable", "is_stage", "iso_time",
    "known_config", "ledger_columns", "local_day", "local_instant", "local_instants", "local_time", "missing_fields",
    "half_of_time_left", "near_names", "next_window", "record_verdict", "required_counts_problems", "retry_time", "start_instant", "records_as_of", "public_objects",
    "time_interval", "twofold_time", "wall_time", "window_timezone", "is_lost", "is_at_risk", "recount_problems",
    "retention_problems",
    "is_ledger_owner", "json_problem", "sees_tokens", "shortened",
    "day_coverage", "days_with_windows", "lateness", "open_counts_problem", "open_windows", "pipeline_answer", "stretch_timezone",
    "unstable_reason", "is_within_day",
}  # fmt: skip
SECURITY_DEFINER = READS | WRITES | {
    "counts_problem", "day_coverage", "days_with_windows", "lateness", "open_counts_problem", "open_windows",
    "pipeline_answer", "stretch_timezone",
}  # fmt: skip
ROLES = {"reader": "record_ledger_reader", "runner": "record_ledger_runner", "public": "public"}

# What a role holds by itself or as anybody does; column rights and ownership included.
RELATION_RIGHTS = """
    select c.relname, string_agg(distinct p.privilege, ',' order by p.privilege)
    from pg_class as c
    cross join unnest(
        case c.relkind when 'S' then array['USAGE', 'SELECT', 'UPDATE']
        else array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'] end
    ) as p (privilege)
    where c.relnamespace = 'record_ledger'::regnamespace
        and c.relkind in ('r', 'v', 'm', 'S', 'p', 'f')
        and case c.relkind
            when 'S' then has_sequence_privilege(%(role)s, c.oid, p.privilege)
            else has_table_privilege(%(role)s, c.oid, p.privilege)
                or p.privilege in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                and has_any_column_privilege(%(role)s, c.oid, p.privilege)
        end
    group by 1
"""
ROUTINES = """
    select distinct p.proname from pg_proc as p
    where p.pronamespace = 'record_ledger'::regnamespace and has_function_privilege(%(role)s, p.oid, 'EXECUTE')
"""


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_is_listed_here_and_nothing_else(ledger, role):
    named = {"role": ROLES[role]}
    rights = dict(rows(ledger, RELATION_RIGHTS, named))
    routines = {name for (name,) in rows(ledger, ROUTINES, named)}
    if role == "public":
        assert (rights, routines) == ({}, set())
        assert not one(ledger, "select has_schema_privilege('public', 'record_ledger', 'usage')")
        return
    assert rights == dict.fromkeys(VIEWS, "SELECT")
    assert routines == READS | RULES | (WRITES | COMMITS if role == "runner" else set())
    assert one(ledger, "select has_schema_privilege(%(role)s, 'record_ledger', 'usage')", named)
    assert not one(
        ledger, "select has_schema_privilege(%(role)s, 'record_ledger', 'create')", named
    )


def test_only_what_must_act_as_the_owner_does(ledger):
    found = {
        name
        for (name,) in rows(
            ledger,
            "select proname from pg_proc where pronamespace = 'record_ledger'::regnamespace and prosecdef",
        )
    }
    assert found == SECURITY_DEFINER


def test_what_acts_as_the_owner_has_a_fixed_search_path_that_ends_with_temporary_objects(ledger):
    settings = rows(
        ledger,
        "select proname, array_to_string(proconfig, E'\\n') from pg_proc "
        "where pronamespace = 'record_ledger'::regnamespace and prosecdef",
    )
    for name, setting in settings:
        assert "search_path=pg_catalog, pg_temp" in (setting or "").splitlines(), name


def test_every_public_object_has_a_comment_and_every_column_of_a_view(ledger):
    undescribed = rows(
        ledger,
        """
        select c.relname, a.attname from pg_class as c
        left join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and c.relkind = 'v'
        where c.relnamespace = 'record_ledger'::regnamespace and c.relkind in ('r', 'p', 'v', 'S')
            and (obj_description(c.oid, 'pg_class') is null
                or a.attnum is not null and col_description(c.oid, a.attnum) is null)
        union all
        select p.proname, null from pg_proc as p
        where p.pronamespace = 'record_ledger'::regnamespace and obj_description(p.oid, 'pg_proc') is null
        union all
        select 'the schema', null where obj_description('record_ledger'::regnamespace, 'pg_namespace') is null
        """,
    )
    assert undescribed == []


def change_one(connection, config):
    """A pipeline with a record whose source has changed, and others whose source data will be gone."""
    answer = cycle(connection, config("changing", source_retention="30d"))
    observe(connection, answer.start, "source", 7, answer.token, pipeline_id="changing")
    complete(connection, answer.token, "changing")
    observe(connection, answer.start, "source", 8, pipeline_id="changing")


def test_a_runner_can_do_the_whole_work(connect, clock, config):
    clock.set(NOW)
    runner = connect(role="runner")
    given = config(PIPELINE)
    register(runner, given)
    assert store(runner, PIPELINE) == 6
    assert cycle(runner, given, "a").start
    second = pass_valid(runner, PIPELINE, "a")
    assert second.verdict in ("UNSTABLE", "READY")
    clock.advance("1d")
    for call in (complete, fail, release):
        call(runner, pass_valid(runner, PIPELINE).token)
    extend(runner, pass_valid(runner, PIPELINE).token)
    assert rows(runner, "select * from record_ledger.records_as_of(now())")
    assert rows(runner, "select * from record_ledger.new_windows(%s)", [PIPELINE])
    assert one(runner, "select record_ledger.oldest_pending_record(%s)", [PIPELINE])
    pass_valid(runner, PIPELINE)
    for operation in ("expire", "waive", "reopen"):
        assert operate(runner, operation, "-infinity", "infinity") > 0
    assert backfill(runner, "2026-11-20T12:00Z") > 0
    for verb in ("pause", "retire", "resume"):
        on_pipeline(runner, verb)
    last = pass_valid(runner, PIPELINE)
    observe(runner, last.start, "source", 7, last.token)
    complete(runner, last.token)
    assert archive(runner, NOW) > 0
    register(runner, {**given, "required_counts": ["source", "target"]})
    failed = pass_valid(runner, PIPELINE)
    observe(runner, failed.start, "source", 7, failed.token)
    fail(runner, failed.token)
    again = pass_valid(runner, PIPELINE)
    while again.start != failed.start:
        clock.advance("1h")
        again = pass_valid(runner, PIPELINE)
    assert adopt(runner, again.token) == 1
    assert waive_counts(runner, again.start)
    change_one(runner, config)
    for view in sorted(VIEWS):
        assert rows(runner, f"select * from record_ledger.{view}")
    by = "select distinct actor from record_ledger."
    assert rows(runner, by + "record_events") == rows(runner, by + "pipeline_events")
    assert rows(runner, by + "record_events") == [(runner.info.user,)]
    assert one(runner, "select record_ledger.reopen_changed_records('changing')") == 1


def test_a_reader_reads_everything_and_changes_nothing(ledger, connect, clock, config):
    clock.set(NOW)
    given = config(PIPELINE)
    first = cycle(ledger, given, "first")
    observe(ledger, first.start, "source", 7, first.token)
    complete(ledger, first.token)
    assert archive(ledger, NOW) == 1
    answer = cycle(ledger, given, "a")
    observe(ledger, answer.start, "source", 7, answer.token)
    change_one(ledger, config)
    clock.advance("4h")
    reader = connect(role="reader")
    for view in sorted(VIEWS):
        found = rows(reader, f"select * from record_ledger.{view}")
        # All but the tokens of claims that are current, which end claims.
        everything = rows(ledger, f"select * from record_ledger.{view}")
        current = [answer.token] if view in TOKENS_OF_CLAIMS else []
        assert found == [
            tuple(None if value in current else value for value in row) for row in everything
        ]
        assert found
    assert rows(reader, "select * from record_ledger.new_windows(%s)", [PIPELINE])
    assert one(reader, "select record_ledger.oldest_pending_record()")
    assert effects(reader, "waive", "-infinity", "infinity")
    assert one(reader, "select record_ledger.pipeline_time(%s, '2026-11-01')", [PIPELINE])
    assert rows(reader, "select * from record_ledger.records_as_of(now())")
    assert rows(reader, "select * from record_ledger.archivable_records(%s, now())", [PIPELINE])
    assert rows(reader, "select * from record_ledger.recount_due('changing')")
    assert rows(reader, "select * from record_ledger.suggest_x_time_back('changing')")
    assert one(reader, "select record_ledger.is_day_sealed('changing', '2026-11-21')") is False
    calls = {
        "select record_ledger.register_pipeline(%s)": [Jsonb(given)],
        "call record_ledger.store_new_records(%s)": [PIPELINE],
        "select record_ledger.pass_valid_record(%s, 'x')": [PIPELINE],
        "select record_ledger.store_new_and_pass_valid_record(%s, 'x')": [Jsonb(given)],
        "select record_ledger.complete_record(%s, %s)": [PIPELINE, answer.record and answer.token],
        "select record_ledger.complete_and_pass(%s, 1, 'x')": [PIPELINE],
        "select record_ledger.complete_records(%s, '{1}')": [PIPELINE],
        "select record_ledger.fail_record(%s, 1, 'x')": [PIPELINE],
        "select record_ledger.release_record(%s, 1)": [PIPELINE],
        "select record_ledger.extend_lease(%s, 1)": [PIPELINE],
        "select record_ledger.waive_records(%s, '-infinity', 'infinity', 'x')": [PIPELINE],
        "select record_ledger.reopen_records(%s, '-infinity', 'infinity', 'x')": [PIPELINE],
        "select record_ledger.expire_leases(%s, '-infinity', 'infinity', 'x')": [PIPELINE],
        "select record_ledger.backfill_records(%s, '2026-11-01')": [PIPELINE],
        "select record_ledger.pause_pipeline(%s, 'x')": [PIPELINE],
        "select record_ledger.resume_pipeline(%s)": [PIPELINE],
        "select record_ledger.retire_pipeline(%s, 'x')": [PIPELINE],
        "select record_ledger.archive_records(%s, now())": [PIPELINE],
        "select record_ledger.observe_record(%s, now(), 'source', 7)": [PIPELINE],
        "select record_ledger.adopt_observations(%s, 1)": [PIPELINE],
        "select record_ledger.waive_counts(%s, now(), 'x')": [PIPELINE],
        "select record_ledger.reopen_changed_records(%s)": [PIPELINE],
    }
    for call, arguments in calls.items():
        with refused("42501"):
            reader.execute(call, arguments)


@pytest.mark.parametrize("role", ["reader", "runner"])
def test_tables_sequences_and_private_functions_are_closed(ledger, connect, clock, config, role):
    clock.set(NOW)
    complete(ledger, cycle(ledger, config(PIPELINE), "a").token)
    # The role that archives creates the partitions, and they belong to the ledger's owner.
    archive(connect(role="runner"), NOW)
    member = connect(role=role)
    tables = [name for (name,) in rows(
        ledger,
        "select relname from pg_class where relnamespace = 'record_ledger'::regnamespace and relkind in ('r', 'p')",
    )]  # fmt: skip
    assert len(tables) >= 14
    for table in tables:
        for statement in ("select from record_ledger.{}", "delete from record_ledger.{}",
                          "insert into record_ledger.{} default values", "truncate record_ledger.{}"):  # fmt: skip
            with refused("42501"):
                member.execute(statement.format(table))
    for view in VIEWS:
        with pytest.raises(
            (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
        ):
            member.execute(f"delete from record_ledger.{view}")
    for statement in (
        "select record_ledger.next_claim_token(1, now())",
        "select record_ledger.begin_deploy('0.0.1', 1)",
        "select record_ledger.migrate(2, '0002_evil', 'drop table record_ledger.record')",
        "select record_ledger.end_deploy('9.9.9')",
        "select record_ledger.register_config('{}')",
        "create table record_ledger.mine ()",
        "create function record_ledger.mine() returns int language sql as 'select 1'",
        "drop schema record_ledger cascade",
        "alter function record_ledger.clock() rename to other",
    ):
        with refused("42501"):
            member.execute(statement)
