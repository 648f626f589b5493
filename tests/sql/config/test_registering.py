"""Registering: what is stored of a config, what is said about it, and that repeating writes nothing."""

from __future__ import annotations

import pytest
from psycopg.types.json import Jsonb

from tests.sql.support import (
    NOW,
    PIPELINE,
    cycle,
    one,
    pass_valid,
    refused,
    register,
    rows,
    snapshot,
    windows,
    writes_nothing,
)

WHO = "select actor, session_user from record_ledger.pipeline_events where event_no = %s"


@pytest.fixture
def warnings(ledger):
    """What the server says beside its answers."""
    said = []
    ledger.add_notice_handler(lambda notice: said.append((notice.severity, notice.message_primary)))
    return said


def test_registering_an_unchanged_config_writes_nothing(ledger, config):
    given = config(PIPELINE, lease="2h", check_fields=["source_name"])
    register(ledger, given)
    before = snapshot(ledger), one(ledger, "select xmin || ' ' || ctid from record_ledger.pipeline")
    writes_nothing(ledger, "select record_ledger.register_pipeline(%s)", [Jsonb(given)])
    # The same config in other words.
    shuffled = dict(reversed(given.items())) | {"start_at": None, "owner": "the data team"}
    writes_nothing(ledger, "select record_ledger.register_pipeline(%s)", [Jsonb(shuffled)])
    after = snapshot(ledger), one(ledger, "select xmin || ' ' || ctid from record_ledger.pipeline")
    assert after == before


def test_a_whole_cycle_with_an_unchanged_config_leaves_the_pipeline_as_it_is(ledger, clock, config):
    clock.set(NOW)
    given = config(PIPELINE, max_active_records=5)
    cycle(ledger, given)
    before = rows(ledger, "select xmin::text, * from record_ledger.pipeline")
    for _ in range(3):
        clock.advance("2h")
        cycle(ledger, given | {"start_at": None, "password": "s3cret"})
    assert rows(ledger, "select xmin::text, * from record_ledger.pipeline") == before
    assert one(ledger, "select count(*) from record_ledger.pipeline_events") == 1


def test_a_changed_config_has_the_next_version_and_is_an_event(ledger, clock, config):
    clock.set(NOW)
    register(ledger, config(PIPELINE))
    clock.advance("1h")
    register(ledger, config(PIPELINE, granularity="1h"))
    clock.advance("1h")
    cycle(ledger, config(PIPELINE, granularity="1h", lease="5m", owner="ignored"))
    register(ledger, config(PIPELINE, granularity="1h", lease="5m", owner="also ignored"))
    assert rows(
        ledger,
        "select event_no, event, (detail ->> 'config_version')::int, detail #>> '{config,granularity}', "
        "detail #>> '{config,lease}' from record_ledger.pipeline_events order by event_no",
    ) == [
        (1, "registered", 1, "2h", None),
        (2, "reconfigured", 2, "1h", None),
        (3, "reconfigured", 3, "1h", "5m"),
    ]
    ((version, created, updated),) = rows(
        ledger, "select config_version, created_at, updated_at from record_ledger.pipelines"
    )
    assert version == 3
    assert str(updated - created) == "2:00:00"
    # Going back is a change as well.
    register(ledger, config(PIPELINE))
    assert one(ledger, "select config_version from record_ledger.pipelines") == 4


def test_the_history_names_who_registered(ledger, connect, config):
    runner = connect(role="runner")
    register(runner, config(PIPELINE))
    ((actor, owner),) = rows(ledger, WHO, [1])
    assert actor == runner.info.user != owner
    register(ledger, config(PIPELINE, lease="2h"))
    ((actor, owner),) = rows(ledger, WHO, [2])
    assert actor == owner


def test_a_refused_change_leaves_the_config_in_force(ledger, clock, config):
    clock.set(NOW)
    cycle(ledger, config(PIPELINE), "a")
    before = snapshot(ledger)
    for wrong in ({"granularity": "2d"}, {"timezone": "Mars/Olympus"}, {"lease": "0s"}):
        with refused("RL001"):
            register(ledger, config(PIPELINE, **wrong))
        with refused("RL001"):
            cycle(ledger, config(PIPELINE, **wrong), "b")
    assert snapshot(ledger) == before


def test_other_keys_are_ignored_and_never_stored(ledger, clock, config, warnings):
    clock.set(NOW)
    secrets = {
        "password": "s3cret-1",
        "connection": {"token": "s3cret-2"},
        "xkcd": ["s3cret-3"],
        "": "s3cret-4",
    }
    register(ledger, config(PIPELINE, **secrets))
    answer = cycle(ledger, config(PIPELINE, **secrets), "a")
    assert "s3cret" not in str(answer)
    for (table,) in rows(
        ledger,
        "select oid::regclass::text from pg_class where relkind in ('r', 'v') "
        "and relnamespace = 'record_ledger'::regnamespace",
    ):
        assert one(ledger, f"select count(*) from {table} as t where t::text like '%s3cret%'") == 0
    assert warnings == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("chek_fields", "check_fields"),
        ("check-fields", "check_fields"),
        ("checkFields", "check_fields"),
        ("max_active_record", "max_active_records"),
        ("depend_on_past", "depends_on_past"),
        ("start_dat", "start_at"),
        ("startat", "start_at"),
        ("max_attempt", "max_attempts"),
        ("retry_dealy", "retry_delay"),
        ("Lease", "lease"),
        ("schedule_interval", None),
        ("email", None),
    ],
)
def test_a_misspelt_optional_key_is_a_warning(ledger, clock, config, warnings, given, meant):
    clock.set(NOW)
    expected = (
        [("WARNING", f'config key "{given}" is ignored; did you mean "{meant}"?')] if meant else []
    )
    register(ledger, config(PIPELINE, **{given: "x"}))
    assert warnings == expected
    warnings.clear()
    cycle(ledger, config(PIPELINE, **{given: "x"}))
    assert warnings == expected
    assert given not in str(rows(ledger, "select * from record_ledger.pipelines"))


HOSTILE = [
    "'; drop schema record_ledger cascade; --",
    "$$; select pg_sleep(10); $$",
    '"; drop table record_ledger.record; --',
    "%s %I %L %% $1 :name {0} \\ \\' E'\\x41' /* */ -- ;",
    "a\nb\tc\u00a0\u2028\u202e🦄 \u0001 ' \" ` \\",
    '{"pipeline_id": "other"}',
    "}}', 'fields', 'x",
    "' || (select string_agg(rolname, ',') from pg_roles) || '",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_kept_as_it_is_and_does_nothing(ledger, clock, config, hostile):
    clock.set(NOW)
    fields = {"key_x": hostile, hostile: "key", "deep": [{hostile: [hostile]}]}
    given = config(hostile, check_fields=[hostile], **{hostile: hostile})
    given["default_record"] = {"pipeline_id": hostile, **fields}

    first = cycle(ledger, given, hostile)
    assert first.record["pipeline_id"] == first.record["run_id"] == hostile
    assert {key: first.record[key] for key in fields} == fields
    again = pass_valid(ledger, hostile, hostile)
    assert again.start == first.start and hostile in again.reason
    ledger.execute("select record_ledger.fail_record(%s, %s, %s)", [hostile, again.token, hostile])
    second = pass_valid(ledger, hostile, hostile)
    detail = {hostile: hostile}
    ledger.execute(
        "select record_ledger.complete_record(%s, %s, %s)", [hostile, second.token, Jsonb(detail)]
    )

    assert rows(
        ledger,
        "select pipeline_id, key_x, fields, run_id, last_detail from record_ledger.pipeline_records "
        "where status = 'COMPLETED'",
    ) == [(hostile, hostile, fields, hostile, detail)]
    assert (
        one(
            ledger,
            "select detail ->> 'error' from record_ledger.record_events where event = 'failed'",
        )
        == hostile
    )
    assert one(ledger, "select default_record from record_ledger.pipelines")["key_x"] == hostile
    assert len(windows(ledger, hostile)) == len(
        rows(ledger, "select from record_ledger.pipeline_records")
    )


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_in_a_refused_argument_is_only_quoted(ledger, config, hostile):
    register(ledger, config(PIPELINE))
    for wrong in ({"timezone": hostile}, {"start_at": hostile}, {"x_time_back": hostile}, {"lease": hostile},
                  {"check_fields": [hostile]}, {"granularity": hostile}):  # fmt: skip
        with refused("RL001"):
            register(ledger, config(PIPELINE, **wrong))
    with refused("RL002"):
        pass_valid(ledger, hostile, hostile)
    with refused("RL002"):
        ledger.execute("select record_ledger.extend_lease(%s, 1)", [hostile])
    with refused("RL005"):
        ledger.execute(
            "call record_ledger.store_new_records(%s, %s)",
            [PIPELINE, Jsonb([{"window_start_time": hostile, "fields": {}}])],
        )
    assert rows(ledger, "select * from record_ledger.record_events") == []
