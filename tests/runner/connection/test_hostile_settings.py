"""Settings of a role, a database or the environment change nothing that the ledger answers."""

from __future__ import annotations

import json
import re

import pytest

from record_ledger.cli import main
from tests.support.clock import Clock
from tests.support.databases import deploy, open_connection
from tests.support.hostile import ENVIRONMENT, make_hostile

# 01:00 to 04:00 of the day on which an hour comes twice, and what people ask of it.
CONFIG = {
    "timezone": "Europe/Berlin",
    "x_time_back": "90m",
    "granularity": "1h",
    "start_at": "2026-10-25T01:00",
    "source_retention": "36h",
    "retry_delay": "10m",
    "required_counts": ["source", "target"],
    "default_record": {"pipeline_id": "über", "path": "{{ window_start_time.isoformat() }}"},
}
WORK = [
    ("2026-10-25T04:00:00Z", ["run", "--config", "FILE", "--run-id", "a"]),
    (None, ["observe", "source", "12", "--record", "LAST"]),
    (None, ["observe", "target", "12", "--record", "LAST"]),
    (None, ["heartbeat", "--record", "LAST"]),
    (None, ["complete", "--record", "LAST"]),
    (None, ["run", "--config", "FILE", "--run-id", "b"]),
    (None, ["fail", "--record", "LAST", "--error", "broken"]),
    (None, ["run", "--config", "FILE", "--run-id", "c"]),
    (None, ["why", "über"]),
    (None, ["status"]),
    (None, ["status", "--json"]),
    (None, ["plan", "über", "--runs", "3", "--run-duration", "45m"]),
    ("2026-10-25T05:30:00Z", ["run", "--config", "FILE", "--run-id", "d"]),
    (None, ["release", "--record", "LAST"]),
    (None, ["history", "über"]),
    (None, ["recount-due", "über"]),
    (None, ["observe", "source", "13", "--pipeline", "über", "--window", "2026-10-25T01:00"]),
    (None, ["changed", "über"]),
    (None, ["coverage", "über"]),
    (None, ["lateness", "über"]),
    (None, ["suggest-x-time-back", "über", "--max-missed", "0.5"]),
    (None, ["is-day-sealed", "über", "2026-10-25"]),
    (None, ["backfill", "über", "--from", "2026-10-24T22:00", "--reason", "a report"]),
    (None, ["waive", "über", "--from", "2026-10-24", "--to", "2026-10-25", "--reason", "no"]),
    (None, ["reopen-changed", "über"]),
    ("2026-10-26T10:00:00Z", ["at-risk"]),
    (None, ["pause", "über", "--reason", "a holiday"]),
    (None, ["run", "--config", "FILE", "--run-id", "e"]),
    (None, ["resume", "über"]),
    (None, ["as-of", "2026-10-25T05:00:00Z"]),
    (None, ["archive", "über", "--before", "2026-10-25T00:30"]),
    (None, ["history", "über", "2026-10-24T22:00"]),
]


@pytest.fixture
def worked(databases, tmp_path, monkeypatch, capsys):
    """Has people and runs work on a ledger; returns all that was printed, and what is stored."""

    def work(is_hostile):
        dsn = databases.clone("UTC")
        with open_connection(dsn) as database:
            clock = Clock(database)
            clock.set("2026-10-25T00:00:00Z")
            if is_hostile:
                make_hostile(database)
            config, last = tmp_path / "config.json", tmp_path / "last.json"
            config.write_text(json.dumps(CONFIG))
            places = {"FILE": str(config), "LAST": str(last)}
            printed = []
            with monkeypatch.context() as patch:
                patch.setenv("RECORD_LEDGER_DSN", dsn)
                for name, value in ENVIRONMENT.items() if is_hostile else ():
                    patch.setenv(name, value)
                for instant, arguments in WORK:
                    if instant is not None:
                        clock.set(instant)
                    code = main([places.get(one, one) for one in arguments])
                    out, err = capsys.readouterr()
                    if arguments[0] == "run" and '"record": {' in out:
                        last.write_text(out)
                    printed.append((arguments, code, _same(out), _same(err)))
        with open_connection(dsn, client_encoding="UTF8", options="-c timezone=UTC") as database:
            stored = [
                _same(str(database.execute(f"select to_jsonb(v) from {view} as v").fetchall()))
                for view in (
                    "record_ledger.pipeline_records",
                    "record_ledger.record_events",
                    "record_ledger.pipeline_events",
                    "record_ledger.record_observations",
                )
            ]
        databases.drop(dsn)
        return printed, stored

    return work


def _same(text):
    """Leaves out what is another in each ledger: claims."""
    return re.sub(r"(claim[_ ]token\W{1,4})\d+", r"\1...", text)


@pytest.mark.slow
def test_they_change_nothing_that_is_printed_or_stored(worked):
    usual, hostile = worked(False), worked(True)

    for one, other in zip(usual[0], hostile[0], strict=True):
        assert one == other
    assert usual[1] == hostile[1]
    # It was work, and not a list of the same errors.
    codes = [code for _, code, _, _ in usual[0]]
    assert codes.count(0) > len(codes) - 6, usual[0]


@pytest.mark.parametrize(
    "zone", ["Asia/Kolkata", "America/St_Johns", "Asia/Shanghai", "Europe/Dublin"]
)
def test_a_year_of_the_archive_begins_at_new_year_in_utc(ledger, connect, zone):
    """A style writes IST, which is an abbreviation of three zones."""
    session = connect(timezone=zone)
    session.execute("set datestyle = 'SQL, DMY'")
    session.execute(
        "select record_ledger.create_archive_partitions('2026-06-01 00:00Z', '2026-07-01 00:00Z')"
    )

    bounds = ledger.execute(
        "set timezone = 'UTC'; set datestyle = 'ISO';"
        "select pg_get_expr(relpartbound, oid) from pg_class where relname ~ '^archived.*_2026$' "
        "and relispartition and relkind = 'r'"
    )
    while bounds.nextset():
        pass
    assert {one for (one,) in bounds.fetchall()} == {
        "FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2027-01-01 00:00:00+00')"
    }


_DEFINITIONS = [
    """
    select proname, pg_get_function_identity_arguments(oid), prosrc, proconfig::text
    from pg_proc where pronamespace = 'record_ledger'::regnamespace order by 1, 2
    """,
    """
    select conname, pg_get_constraintdef(oid)
    from pg_constraint where connamespace = 'record_ledger'::regnamespace order by 1, 2
    """,
    "select viewname, definition from pg_views where schemaname = 'record_ledger' order by 1",
    """
    select adrelid::regclass::text, adnum, pg_get_expr(adbin, adrelid)
    from pg_attrdef order by 1, 2
    """,
    """
    select tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
    from pg_trigger where not tgisinternal order by 1, 2
    """,
    "select indexdef from pg_indexes where schemaname = 'record_ledger' order by 1",
]


def test_they_change_nothing_that_is_deployed(databases, empty_dsn, monkeypatch):
    found = []
    for is_hostile in (False, True):
        dsn = databases.empty()
        with open_connection(dsn) as database:
            if is_hostile:
                make_hostile(database)
        with monkeypatch.context() as patch:
            for name, value in ENVIRONMENT.items() if is_hostile else ():
                patch.setenv(name, value)
            deploy(dsn)
        styled = "-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c search_path=public"
        with open_connection(dsn, client_encoding="UTF8", options=styled) as database:
            found.append([database.execute(text).fetchall() for text in _DEFINITIONS])
        databases.drop(dsn)

    for usual, hostile in zip(*found, strict=True):
        assert usual == hostile
        assert usual
