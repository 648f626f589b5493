"""doctor: what it finds, and what it says to do."""

from __future__ import annotations

import json

import pytest
from psycopg.conninfo import make_conninfo

from record_ledger import RecordLedger
from record_ledger.cli import main
from record_ledger.server.doctor import _replication, examine


def states(checks):
    return {check.name: check.state for check in checks}


def test_a_healthy_ledger_is_healthy(ledger_dsn, config):
    with RecordLedger(ledger_dsn) as runner:
        runner.register_pipeline(config("orders"))
        runner.register_pipeline(config("tokyo", timezone="Asia/Tokyo"))

    german = make_conninfo(ledger_dsn, options="-c datestyle=German -c intervalstyle=iso_8601")
    assert [check.state for check in examine(german) if check.name != "pooling"] == ["ok"] * 13
    checks = examine(ledger_dsn)

    assert {check.state for check in checks} == {"ok"}
    assert [check.name for check in checks] == [
        "connection",
        "server",
        "pooling",
        "writes",
        "isolation",
        "owner",
        "release",
        "roles",
        "roles",
        "rights",
        "sessions",
        "clock",
        "time zones",
        "configs",
    ]
    assert "agree on 2" in checks[-2].finding


def test_two_deployments_in_turn_are_named(ledger_dsn, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    with RecordLedger(ledger_dsn) as runner:
        for lease in ("1h", "2h", "1h"):
            runner.register_pipeline(config("orders", lease=lease))
        assert states(examine(ledger_dsn))["configs"] == "ok"
        runner.register_pipeline(config("orders", lease="2h"))

    (check,) = [check for check in examine(ledger_dsn) if check.name == "configs"]
    assert check.state == "warning"
    assert "orders: configs take turns, 2 have returned within an hour" in check.finding
    clock.advance("1h")
    assert states(examine(ledger_dsn))["configs"] == "ok"


PUBLISHED = ", ".join(
    f"record_ledger.{table}"
    for table in (
        "archived_record",
        "archived_record_event",
        "archived_record_observation",
        "claim",
        "pipeline",
        "pipeline_event",
        "pipeline_zone",
        "record",
        "record_event",
        "record_observation",
    )
)


def replication(dsn):
    return [(c.state, c.finding, c.advice) for c in examine(dsn) if c.name == "replication"]


def test_a_published_ledger_has_what_its_archive_needs(ledger, ledger_dsn, role_dsn):
    def publish(what, *options):
        ledger.execute("drop publication if exists ours")
        with_options = f" with ({', '.join(options)})" if options else ""
        ledger.execute(f"create publication ours for {what}{with_options}")

    assert replication(ledger_dsn) == []
    ledger.execute("create table public.other (id int primary key)")
    publish("table public.other")
    assert replication(ledger_dsn) == []

    via_root = "publish_via_partition_root = true"
    publish(f"table {PUBLISHED}", via_root)
    # A reader may ask, too.
    for dsn in (ledger_dsn, role_dsn("reader")):
        ((state, finding, advice),) = replication(dsn)
        assert (state, advice) == ("ok", "")
        assert "published by ours" in finding

    publish(f"table {PUBLISHED}")
    ((state, finding, advice),) = replication(ledger_dsn)
    assert (state, "lacks publish_via_partition_root" in finding) == ("warning", True)
    assert "alter publication ours set (publish_via_partition_root = true)" in advice

    # Partitions that exist already are not the archive.
    ledger.execute("select record_ledger.create_archive_partitions('2025-03-01', '2026-03-01')")
    publish("table record_ledger.archived_record_2025", via_root)
    assert "leaves out archived_record_event, archived" in replication(ledger_dsn)[0][1]
    publish(f"table {PUBLISHED}")
    assert "leaves out" not in replication(ledger_dsn)[0][1]

    publish("tables in schema record_ledger", via_root, "publish = 'insert, update'")
    ((state, finding, advice),) = replication(ledger_dsn)
    assert state == "warning"
    assert "has deployment, migration, which each deploy writes itself" in finding
    assert "leaves out inserts, updates or deletes" in finding

    publish("table record_ledger.record", via_root)
    ((_, finding, advice),) = replication(ledger_dsn)
    assert "leaves out archived_record," in finding and "Add these tables" in advice


@pytest.mark.parametrize("what", ["all tables", "tables in schema record_ledger"])
def test_of_a_publication_of_all_tables_none_can_be_dropped(ledger, ledger_dsn, what):
    """PostgreSQL refuses to add a table to such a publication, and to drop one from it."""
    ledger.execute(f'create publication "All of it" for {what}')

    ((state, finding, advice),) = replication(ledger_dsn)

    assert state == "warning"
    assert "has deployment, migration" in finding and "leaves out" not in finding
    assert 'alter publication "All of it" set (publish_via_partition_root = true)' in advice
    assert "by their names instead: create publication" in advice
    assert "Drop these tables" not in advice and "Add these tables" not in advice


def test_a_subscribed_ledger_follows_another_one(ledger):
    """Not committed: a subscription keeps its database from being dropped."""
    with ledger.transaction(force_rollback=True):
        ledger.execute(
            "create subscription ours connection '' publication ours "
            "with (connect = false, slot_name = none)"
        )
        assert list(_replication(ledger)) == []
        ledger.execute("set local allow_system_table_mods = on")
        ledger.execute(
            "insert into pg_subscription_rel (srsubid, srrelid, srsubstate) "
            "select oid, 'record_ledger.record'::regclass, 'r' from pg_subscription "
            "where subname = 'ours'"
        )
        (disabled,) = _replication(ledger)
        assert (disabled.state, disabled.finding) == ("ok", "subscription ours is disabled")
        ledger.execute("update pg_subscription set subenabled = true where subname = 'ours'")
        (enabled,) = _replication(ledger)
        assert enabled.state == "warning"
        assert "follows another one, by subscription ours" in enabled.finding
        assert "alter subscription ours disable" in enabled.advice


def test_a_role_that_is_a_replica_is_an_error(ledger_dsn):
    replica = make_conninfo(ledger_dsn, options="-c session_replication_role=replica")
    ((state, finding, advice),) = replication(replica)
    assert state == "error"
    assert "session_replication_role is replica" in finding
    assert "reset session_replication_role" in advice


def test_a_database_without_a_ledger_is_an_error(empty_dsn, capsys):
    code = main(["doctor", "--dsn", empty_dsn])

    out = capsys.readouterr().out
    assert code == 1
    assert "no ledger is deployed" in out
    assert "record-ledger deploy" in out


def test_a_server_that_is_not_there_is_a_finding(tmp_path, capsys):
    code = main(["doctor", "--json", "--dsn", f"host={tmp_path} password=s3cret"])

    printed = capsys.readouterr()
    (check,) = json.loads(printed.out)["checks"]
    assert code == 1
    assert check["name"] == "connection"
    assert check["state"] == "error"
    assert check["advice"]
    assert "s3cret" not in printed.out + printed.err


def test_a_reader_is_told_what_it_may_not_do(role_dsn):
    checks = examine(role_dsn("reader"))

    rights = next(check for check in checks if check.name == "rights")
    assert rights.state == "warning"
    assert "grant record_ledger_runner" in rights.advice
    assert states(checks)["release"] == "ok"


def test_a_runner_is_healthy(role_dsn):
    assert set(states(examine(role_dsn("runner"))).values()) == {"ok"}


def test_another_release_is_a_warning(ledger_dsn, ledger):
    ledger.execute("insert into record_ledger.deployment (release) values ('9.9.9')")

    release = next(check for check in examine(ledger_dsn) if check.name == "release")

    assert release.state == "warning"
    assert "9.9.9" in release.finding


def test_options_in_the_connection_string_are_warned_of(ledger_dsn):
    checks = examine(make_conninfo(ledger_dsn, options="-c work_mem=8MB"))

    pooling = next(check for check in checks if check.name == "pooling")
    assert pooling.state == "warning"
    assert "PgBouncer" in pooling.finding


def test_a_zone_that_only_the_server_knows_is_named(ledger_dsn, ledger, config):
    with RecordLedger(ledger_dsn) as runner:
        runner.register_pipeline(config("orders"))
    # A POSIX rule is a zone for the server and none for Python.
    ledger.execute("update record_ledger.pipeline set timezone = 'FOO+8BAR,M3.2.0,M11.1.0'")

    zones = next(check for check in examine(ledger_dsn) if check.name == "time zones")

    assert zones.state == "warning"
    assert "FOO+8BAR" in zones.finding
    assert "no such zone" in zones.finding


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_command_exits_0_when_nothing_is_wrong(ledger_dsn, capsys, form):
    assert main(["doctor", "--dsn", ledger_dsn, *form]) == 0
    assert "PostgreSQL" in capsys.readouterr().out
