"""A pipeline that belongs to a role is acted in by that role's members alone; without one by every runner."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.sql.support import PIPELINE, one, register, rows
from tests.support.databases import open_connection

RANGE = "'2026-01-01', '2027-01-01'"
# All calls that act in a pipeline, as a team's user makes them; {token} is that of a record in progress.
ACTS = {
    "registering": "select record_ledger.register_pipeline('{config}')",
    "passing": "select record_ledger.store_new_and_pass_valid_record('{config}', 'theirs')",
    "passing without a config": "select record_ledger.pass_valid_record('{pipeline}', 'theirs')",
    "passing several": "select record_ledger.pass_valid_records('{config}', 'theirs', 2)",
    "storing": "call record_ledger.store_new_records('{pipeline}', '[]', 0)",
    "completing": "select record_ledger.complete_record('{pipeline}', {token})",
    "completing a window": "select record_ledger.complete_record('{pipeline}', {token}, '{{}}', '{window}')",
    "completing and passing": "select record_ledger.complete_and_pass('{pipeline}', {token}, 'theirs')",
    "completing several": "select record_ledger.complete_records('{pipeline}', array[{token}])",
    "failing": "select record_ledger.fail_record('{pipeline}', {token}, 'no')",
    "failing for good": "select record_ledger.fail_record('{pipeline}', {token}, 'no', false)",
    "releasing": "select record_ledger.release_record('{pipeline}', {token})",
    "extending": "select record_ledger.extend_lease('{pipeline}', {token})",
    "counting": "select record_ledger.observe_record('{pipeline}', '{window}', 'source', 1)",
    "adopting": "select record_ledger.adopt_observations('{pipeline}', {token}, 'source')",
    "waiving counts": "select record_ledger.waive_counts('{pipeline}', '{window}', 'why')",
    "waiving": "select record_ledger.waive_records('{pipeline}', {range}, 'why')",
    "reopening": "select record_ledger.reopen_records('{pipeline}', {range}, 'why')",
    "reopening what changed": "select record_ledger.reopen_changed_records('{pipeline}')",
    "expiring": "select record_ledger.expire_leases('{pipeline}', {range}, 'why')",
    "cancelling": "select record_ledger.cancel_records('{pipeline}', {range}, 'why')",
    "backfilling": "select record_ledger.backfill_records('{pipeline}', '2026-01-01')",
    "a step of waiving": "select record_ledger.range_step('waive', '{pipeline}', {range}, 'why')",
    "a step of backfilling": "select record_ledger.range_step('backfill', '{pipeline}', '2026-01-01', null, null)",
    "waiving in steps": "call record_ledger.range_in_steps('waive', '{pipeline}', {range}, 'why', null)",
    "pausing": "select record_ledger.pause_pipeline('{pipeline}', 'why')",
    "resuming": "select record_ledger.resume_pipeline('{pipeline}')",
    "retiring": "select record_ledger.retire_pipeline('{pipeline}', 'why')",
    "archiving": "select record_ledger.archive_records('{pipeline}', '2026-06-01')",
    "giving it away": "select record_ledger.set_pipeline_owner('{pipeline}', '{stranger}')",
    "taking its owner away": "select record_ledger.set_pipeline_owner('{pipeline}', null)",
}
LOOKS = (
    "select count(*) from record_ledger.pipeline_records",
    "select count(*) from record_ledger.record_verdicts",
    f"select * from record_ledger.range_effects('waive', '{PIPELINE}', {RANGE})",
    f"select * from record_ledger.plan_runs('{PIPELINE}', 2)",
)


@pytest.fixture
def roles(ledger, ledger_dsn):
    """Two teams with a user each, and a runner of neither; all gone at the end."""
    suffix = one(ledger, "select oid::text from pg_database where datname = current_database()")
    names = {name: f"{name}_{suffix}" for name in ("team", "member", "stranger", "gone")}
    for name in names.values():
        ledger.execute(f"create role {name} login")
        ledger.execute(f"grant record_ledger_runner to {name}")
    ledger.execute(f"grant {names['team']} to {names['member']}")
    yield names
    for name in names.values():
        if one(ledger, "select to_regrole(%s)", [name]) is not None:
            ledger.execute(f"drop owned by {name}")
            ledger.execute(f"drop role {name}")


@pytest.fixture
def as_role(ledger_dsn, roles):
    opened = []

    def connect(name):
        opened.append(open_connection(ledger_dsn, user=roles[name]))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def owned(ledger, config, roles, clock):
    """A pipeline of the team, with a record in progress and one more to pass."""
    clock.set("2026-11-22T20:00:00Z")
    given = config(PIPELINE)
    register(ledger, given)
    passed = one(
        ledger,
        "select record from record_ledger.store_new_and_pass_valid_record(%s, 'ours')",
        [json.dumps(given)],
    )
    assert one(
        ledger, f"select record_ledger.set_pipeline_owner('{PIPELINE}', %s)", [roles["team"]]
    )
    return {
        "pipeline": PIPELINE,
        "config": json.dumps(given),
        "token": passed["claim_token"],
        "window": passed["window_start_time"],
        "range": RANGE,
        **roles,
    }


def everything(connection):
    return [
        rows(connection, f"select * from record_ledger.{table} order by 1, 2, 3")
        for table in (
            "pipeline",
            "record",
            "record_event",
            "claim",
            "record_observation",
            "pipeline_event",
        )
    ]


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_runner_of_another_team_is_refused_and_changes_nothing(ledger, owned, as_role, act):
    before = everything(ledger)

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is not a member") as caught:
        as_role("stranger").execute(act.format(**owned))

    assert f'pipeline "{PIPELINE}" belongs to role {owned["team"]}' in str(caught.value)
    assert everything(ledger) == before


def test_another_team_may_still_look(owned, as_role):
    for look in LOOKS:
        as_role("stranger").execute(look).fetchall()


def test_members_of_the_team_act_as_before(ledger, owned, as_role):
    member = as_role("member")
    member.execute(
        ACTS["counting"].format(**owned).replace(", 1)", f", 1, '{{}}', {owned['token']})")
    )
    for act in ("extending", "completing", "passing", "pausing", "resuming", "reopening"):
        member.execute(ACTS[act].format(**owned))
    assert (
        one(ledger, "select count(*) from record_ledger.record where status = 'IN_PROGRESS'") == 1
    )


def test_a_config_that_asks_for_no_counts_is_completed_by_members_alone_as_well(
    ledger, config, clock, roles, as_role
):
    clock.set("2026-11-22T20:00:00Z")
    given = json.dumps(config(PIPELINE))
    call = "select record from record_ledger.store_new_and_pass_valid_record(%s, %s)"
    before = one(ledger, call, [given, "before it had an owner"])["claim_token"]
    ledger.execute(f"select record_ledger.set_pipeline_owner('{PIPELINE}', %s)", [roles["team"]])
    since = one(ledger, call, [given, "since"])["claim_token"]

    complete = f"select record_ledger.complete_record('{PIPELINE}', %s)"
    for token in (before, since):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role("stranger").execute(complete, [token])
        as_role("member").execute(complete, [token])


def test_the_pipeline_of_a_role_that_is_gone_is_left_to_the_ledgers_owner(
    ledger, owned, as_role, roles
):
    assert one(
        ledger, f"select record_ledger.set_pipeline_owner('{PIPELINE}', %s)", [roles["gone"]]
    )
    ledger.execute(f"drop owned by {roles['gone']}")
    ledger.execute(f"drop role {roles['gone']}")

    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        as_role("member").execute(ACTS["pausing"].format(**owned))
    assert "That role does not exist" in (caught.value.diag.message_hint or "")
    ledger.execute(f"select record_ledger.set_pipeline_owner('{PIPELINE}', %s)", [roles["team"]])
    as_role("member").execute(ACTS["pausing"].format(**owned))


def test_who_registered_a_pipeline_may_give_it_to_its_team_and_no_other_runner(
    ledger, config, roles, as_role
):
    register(as_role("member"), config(PIPELINE))
    take = f"select record_ledger.set_pipeline_owner('{PIPELINE}', %s)"

    for role in (roles["stranger"], roles["team"]):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="was registered by"):
            as_role("stranger").execute(take, [role])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is not a member of role"):
        as_role("member").execute(take, [roles["stranger"]])
    assert one(as_role("member"), take, [roles["team"]]) is True
    assert one(as_role("member"), take, [roles["team"]]) is False
    assert one(ledger, "select owner_role from record_ledger.pipelines") == roles["team"]
    assert one(as_role("member"), take, [None]) is True
    register(as_role("stranger"), config(PIPELINE))

    events = rows(
        ledger, "select event, actor, detail from record_ledger.pipeline_events order by event_no"
    )
    assert [(event, actor) for event, actor, _ in events] == [
        ("registered", roles["member"]), ("owner_set", roles["member"]), ("owner_set", roles["member"]),
    ]  # fmt: skip
    assert events[1][2] == {"owner_role": roles["team"], "owner_role_before": None}


@pytest.mark.parametrize("role", ["no such role", "", 'a"b; drop', "x" * 300])
def test_a_role_that_does_not_exist_owns_nothing(ledger, config, role):
    register(ledger, config(PIPELINE))

    with pytest.raises(psycopg.Error, match="is not a role of this server") as caught:
        ledger.execute(f"select record_ledger.set_pipeline_owner('{PIPELINE}', %s)", [role])

    assert caught.value.sqlstate == "RL005"


# ---------------------------------------------------------------- claim tokens
TOKENS = (
    "select claim_token from record_ledger.pipeline_records where status = 'IN_PROGRESS'",
    "select claim_token from record_ledger.record_events order by event_no desc limit 1",
    "select claim_token from record_ledger.record_observations order by observation_no desc limit 1",
    "select claim_token from record_ledger.records_as_of(record_ledger.clock()) where status = 'IN_PROGRESS'",
)


@pytest.mark.parametrize("token", TOKENS)
def test_a_reader_sees_no_token_of_a_claim_that_is_current(ledger, owned, as_role, roles, token):
    ledger.execute(f"select record_ledger.observe_record('{PIPELINE}', %s, 'source', 1, '{{}}', %s)",
                   [owned["window"], owned["token"]])  # fmt: skip
    ledger.execute(f"revoke record_ledger_runner from {roles['gone']}")
    ledger.execute(f"grant record_ledger_reader to {roles['gone']}")
    reader, runner = as_role("gone"), as_role("stranger")
    assert rows(reader, token) == [(None,)]
    assert rows(runner, token) == [(owned["token"],)]

    ledger.execute(f"select record_ledger.complete_record('{PIPELINE}', %s)", [owned["token"]])

    # Nothing can be ended with it any more, and analysts join by it.
    found = token.replace("IN_PROGRESS", "COMPLETED")
    assert rows(reader, found) == [(owned["token"],)]


def test_a_reader_cannot_find_out_a_token_by_trying(ledger, owned, as_role, roles):
    ledger.execute(f"revoke record_ledger_runner from {roles['gone']}")
    ledger.execute(f"grant record_ledger_reader to {roles['gone']}")
    # A token is the time in milliseconds and 12 bits: few of them fit the time that readers see.
    taking_a_token = """
        select p.oid::regprocedure::text
        from pg_proc as p
        where p.pronamespace = 'record_ledger'::regnamespace
            and 'claim_token' = any(p.proargnames[:p.pronargs])
            and has_function_privilege(p.oid, 'execute')
    """
    assert rows(as_role("gone"), taking_a_token) == []


def test_what_readers_see_of_days_does_not_depend_on_it(ledger, owned, as_role, roles):
    ledger.execute(f"select record_ledger.observe_record('{PIPELINE}', %s, 'source', 5, '{{}}', %s)",
                   [owned["window"], owned["token"]])  # fmt: skip
    ledger.execute(f"select record_ledger.complete_record('{PIPELINE}', %s)", [owned["token"]])
    ledger.execute(f"revoke record_ledger_runner from {roles['gone']}")
    ledger.execute(f"grant record_ledger_reader to {roles['gone']}")
    look = "select local_date, counts from record_ledger.daily_coverage order by 1 limit 1"

    assert rows(as_role("gone"), look) == rows(ledger, look)
    assert rows(ledger, look)[0][1] == {"source": {"rows": 5, "windows": 1}}
