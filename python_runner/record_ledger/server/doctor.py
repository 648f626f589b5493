"""Checks that this machine and a database can work together, and says what to do where not."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from record_ledger import queries
from record_ledger.connection import RetryPolicy, Session
from record_ledger.errors import LedgerError
from record_ledger.prepared import PREPARE_VARIABLE, prepare_wanted
from record_ledger.redaction import redact
from record_ledger.values import zone_offset
from record_ledger.waiting import blocker_text

from .sql_files import package_release, strangers_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import psycopg

OLDEST_SERVER, NEWEST_SERVER = 15, 18
_MOST_SKEW_SECONDS = 2.0
# A transaction that is idle for longer was forgotten: passes and people's changes take less.
_LONG_IDLE_SECONDS = 5.0
# PgBouncer gives each transaction a server connection of its own choice: a few looks show it.
_LOOKS_AT_BACKEND = 5


@dataclass(frozen=True)
class Check:
    """One finding: `state` is ok, warning or error; `advice` is what to do, empty when ok."""

    name: str
    state: str
    finding: str
    advice: str = ""


def examine(conninfo: str | None = None) -> list[Check]:
    """Returns every check in order; a failed connection is a finding too, the last one then."""
    session = Session(conninfo, RetryPolicy(tries=2, within=10.0))
    checks: list[Check] = []
    try:
        for check in _BEFORE_TRUST:
            checks += session.run("doctor", partial(_findings, check), calls_ledger=False)
        for check in _CHECKS:
            checks += session.run("doctor", partial(_pinned_findings, check), calls_ledger=False)
            # A stranger's functions would run with the rights of the user who asks.
            if check is _owner and any(found.name == "owner" for found in checks if found.advice):
                break
    except LedgerError as error:
        if checks:
            checks.append(Check("database", "error", error.message, error.hint or ""))
        else:
            advice = error.hint or "Check --dsn, RECORD_LEDGER_DSN or the PG* variables."
            checks.append(Check("connection", "error", error.message, advice))
    finally:
        session.close()
    return checks


def _findings(
    check: Callable[[psycopg.Connection[Any]], Iterator[Check]],
    connection: psycopg.Connection[Any],
) -> list[Check]:
    return list(check(connection))


def _pinned_findings(
    check: Callable[[psycopg.Connection[Any]], Iterator[Check]],
    connection: psycopg.Connection[Any],
) -> list[Check]:
    """Looks in a transaction whose names are the catalogue's, whatever the user's path holds."""
    with connection.transaction():
        connection.execute(queries.PIN_NAMES)
        return list(check(connection))


def _owner(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    found = json.loads(_row(connection, strangers_statement())[0])
    owner, user = found["owner"], connection.info.user
    if owner is None:
        return
    if found["problem_count"]:
        yield Check(
            "owner",
            "error",
            f"schema record_ledger belongs to {owner}, and holds what other roles can change: "
            f"{found['problems']}",
            "Nothing else was looked at. Have an administrator drop what is not needed, and give "
            f"the rest to {owner}.",
        )
    elif found["owner_is_strange"]:
        yield Check(
            "owner",
            "error",
            f"schema record_ledger belongs to {owner}, which is not an administrator and does not "
            f"own the database: what it holds would run with the rights of {user}",
            f"Nothing else was looked at. Ask as another user than {user}, or, if {owner} made "
            "the schema without being asked to, drop it.",
        )
    else:
        yield Check("owner", "ok", f"the ledger, and all that is in its schema, belongs to {owner}")


def _connection(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    info = connection.info
    yield Check(
        "connection",
        "ok",
        redact(f"{info.user} at {info.host or 'a local socket'}, database {info.dbname}"),
    )


def _server(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    number = _row(connection, queries.SERVER)[0]
    major = number // 10000
    if OLDEST_SERVER <= major <= NEWEST_SERVER:
        yield Check("server", "ok", f"PostgreSQL {major}.{number % 10000}")
    elif major < OLDEST_SERVER:
        advice = f"Use PostgreSQL {OLDEST_SERVER} to {NEWEST_SERVER}."
        yield Check("server", "error", f"PostgreSQL {major} is too old", advice)
    else:
        advice = f"Tested are {OLDEST_SERVER} to {NEWEST_SERVER}: look for a newer record-ledger."
        yield Check("server", "warning", f"PostgreSQL {major} is newer than this release", advice)


def _pooling(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    if "options" in _conninfo_keys(connection):
        yield Check(
            "pooling",
            "warning",
            "the connection string has options=, which PgBouncer rejects",
            "Set what it sets on the database or the role: alter role ... set ...",
        )
        return
    backends = {_row(connection, queries.BACKEND)[0] for _ in range(_LOOKS_AT_BACKEND)}
    pooled = len(backends) > 1 or connection.info.backend_pid not in backends
    wanted = prepare_wanted()
    if pooled and wanted:
        yield Check(
            "pooling",
            "warning",
            f"through a pooler, and {PREPARE_VARIABLE} is on: what is prepared may be lost",
            f"Leave {PREPARE_VARIABLE} to auto, unless the pooler keeps prepared statements.",
        )
    elif pooled or wanted is False:
        finding = "through a pooler in transaction mode" if pooled else "no pooler seen"
        yield Check("pooling", "ok", f"{finding}; nothing in use depends on the session")
    else:
        yield Check("pooling", "ok", "no pooler seen; the statements of runs are prepared")


def _names(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    # Without being named, the catalogue comes first.
    before = _row(connection, queries.SCHEMAS_BEFORE_THE_CATALOGUE)[0]
    if before:
        yield Check(
            "names",
            "warning",
            f"search_path puts {', '.join(before)} before pg_catalog: who may create there can "
            f"replace any function or operator that {connection.info.user} uses",
            "Leave pg_catalog out of search_path, or name it first: alter role ... set search_path",
        )


def _writes(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    in_recovery, setting, where = _row(connection, queries.TAKES_WRITES)
    if in_recovery:
        yield Check(
            "writes",
            "error",
            "the server is a standby, which takes no writes",
            "Name all servers in the connection string, with target_session_attrs=read-write: the "
            "one that takes writes is then found.",
        )
    elif setting == "on":
        yield Check(
            "writes",
            "error",
            f"default_transaction_read_only is on{_set_where(where)}: no record can be passed",
            f"Once it may take writes: {_reset('default_transaction_read_only', where)}.",
        )
    else:
        yield Check("writes", "ok", "the server takes writes")


def _isolation(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    setting, where = _row(connection, queries.ISOLATION)
    finding = "read committed is the default"
    if setting not in ("read committed", "read uncommitted"):
        # Nothing to do for the runner's sake; other callers of the routines are refused.
        finding = (
            f"default_transaction_isolation is {setting}{_set_where(where)}: the runner asks for "
            "read committed itself; psql and dbt have to"
        )
    yield Check("isolation", "ok", finding)


def _sessions(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    rows = connection.execute(
        queries.HOLDING_SESSIONS, {"seconds": _LONG_IDLE_SECONDS}, binary=True
    ).fetchall()
    for row in rows:
        yield Check(
            "sessions",
            "warning",
            f"{blocker_text(row)} holds locks that runs may have to wait for",
            f"Have it commit or roll back, or end it: select pg_terminate_backend({row[0]}).",
        )
    if not rows:
        yield Check("sessions", "ok", "no forgotten transaction holds a lock in the ledger")


def _set_where(where: str | None) -> str:
    return "" if where is None else f" for {where}"


def _reset(setting: str, where: str | None) -> str:
    """Returns what takes a setting back, where that is one statement."""
    if where is None:
        return f"switch {setting} off in the server's configuration"
    return f"alter {where.removeprefix('the ')} reset {setting}"


def _release(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    ours = package_release()
    if not _row(connection, queries.IS_DEPLOYED)[0]:
        advice = "Run `record-ledger deploy` as the owner of the database."
        yield Check("release", "error", "no ledger is deployed here", advice)
    elif not _row(connection, queries.CAN_ASK_RELEASE)[0]:
        yield Check("release", "ok", f"deployed; members of its roles see which (ours is {ours})")
    else:
        theirs = _row(connection, queries.RELEASE)[0]
        if theirs == ours:
            yield Check("release", "ok", f"release {ours} is deployed, the same as this package")
        else:
            yield Check(
                "release",
                "warning",
                f"release {theirs} is deployed, this package is {ours}",
                "Run `record-ledger deploy`, or install the release that is deployed.",
            )


def _roles(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    for role, exists, is_member in connection.execute(queries.ROLES).fetchall():
        if exists:
            mine = "; the user is a member" if is_member else ""
            yield Check("roles", "ok", f"{role} exists{mine}")
        else:
            yield Check(
                "roles",
                "warning",
                f"{role} does not exist",
                f"Have an administrator run `create role {role} nologin`, then deploy again.",
            )
    # Of interest to who deploys: to whom the schema belongs, or who could create it.
    not_ours, user = _row(connection, queries.ROLES_NOT_GRANTABLE)
    if not_ours:
        yield Check(
            "roles",
            "warning",
            f"{user} may not grant {' and '.join(not_ours)} to users: another deployer of this "
            "server made them",
            f"Have an administrator run `grant {', '.join(not_ours)} to {user} with admin option`.",
        )


def _rights(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    if not _row(connection, queries.IS_DEPLOYED)[0]:
        return
    user = connection.info.user
    can_read, can_run, owns = _row(connection, queries.RIGHTS)
    if can_run:
        deploys = " and deploy" if owns else ""
        yield Check("rights", "ok", f"{user} may read, pass and end records{deploys}")
    elif can_read:
        advice = f"To run pipelines: grant record_ledger_runner to {user}."
        yield Check("rights", "warning", f"{user} may read the ledger and nothing else", advice)
    else:
        advice = f"Have its owner run: grant record_ledger_runner to {user}."
        yield Check("rights", "error", f"{user} may not use the ledger", advice)


def _clock(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    before = dt.datetime.now(dt.timezone.utc)
    server = _row(connection, queries.SERVER)[3]
    after = dt.datetime.now(dt.timezone.utc)
    # Between the two looks at our clock, so that a slow network is not taken for a wrong one.
    skew = max((before - server).total_seconds(), (server - after).total_seconds(), 0.0)
    if skew > _MOST_SKEW_SECONDS:
        yield Check(
            "clock",
            "warning",
            f"this machine and the server are {skew:.1f} s apart",
            "The server's clock decides, so nothing breaks; set both by NTP to read logs in peace.",
        )
    else:
        yield Check("clock", "ok", f"less than {_MOST_SKEW_SECONDS:.0f} s from the server's")


def _zones(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    if not _row(connection, queries.IS_DEPLOYED)[0] or not _row(connection, queries.RIGHTS)[0]:
        return
    differing: dict[str, str] = {}
    zones = set()
    for zone, instant, server_offset in connection.execute(queries.ZONE_OFFSETS, binary=True):
        zones.add(zone)
        ours = zone_offset(zone, instant)
        if zone not in differing and ours != server_offset:
            shown = "no such zone" if ours is None else _offset(ours)
            differing[zone] = (
                f"from {instant.astimezone(dt.timezone.utc):%Y-%m-%d %H:%M} UTC on the server has "
                f"{_offset(server_offset)}, Python {shown}"
            )
    for zone, finding in sorted(differing.items()):
        yield Check(
            "time zones",
            "warning",
            f"{zone}: {finding}",
            "The server decides and records keep its offsets; update the time zone data of the "
            "one that is behind (the server's packages, or `pip install -U tzdata`).",
        )
    if not differing:
        finding = f"server and Python agree on {len(zones)} for two years" if zones else "none used"
        yield Check("time zones", "ok", finding)


def _replication(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    """Finds nothing to say of a ledger that is not replicated by its rows."""
    name = "replication"
    if _row(connection, queries.REPLICATION_ROLE)[0] == "replica":
        yield Check(
            name,
            "error",
            "session_replication_role is replica: the ledger refuses every change",
            "For the role or the database: alter role ... reset session_replication_role.",
        )
    for publication, *found in connection.execute(queries.PUBLICATIONS).fetchall():
        problems, advice = _publication_problems(publication, found)
        if problems:
            finding = f"publication {publication} {' and '.join(problems)}"
            yield Check(name, "warning", finding, " ".join(advice))
        else:
            finding = f"published by {publication}, archive included; sequences are not needed"
            yield Check(name, "ok", finding)
    for subscription, is_enabled in connection.execute(queries.SUBSCRIPTIONS).fetchall():
        if is_enabled:
            yield Check(
                name,
                "warning",
                f"this ledger follows another one, by subscription {subscription}",
                "Pass and end records there only. Before you do it here: alter subscription "
                f"{subscription} disable.",
            )
        else:
            yield Check(name, "ok", f"subscription {subscription} is disabled")


def _publication_problems(publication: str, found: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Returns what a publication of the ledger lacks, and what to do about each."""
    via_root, has_changes, is_whole, missing, too_many = found
    problems, advice = [], []
    if not via_root:
        problems.append("lacks publish_via_partition_root: an archive's new year stops it")
        advice.append(
            f"alter publication {publication} set (publish_via_partition_root = true), and refresh "
            "its subscriptions."
        )
    if not has_changes:
        problems.append("leaves out inserts, updates or deletes")
        advice.append(f"alter publication {publication} set (publish = 'insert, update, delete').")
    if missing:
        problems.append(f"leaves out {', '.join(missing)}")
        advice.append("Add these tables.")
    if too_many:
        problems.append(f"has {', '.join(too_many)}, which each deploy writes itself")
        if is_whole:  # it lets no single table go
            what = "create publication ... for table ... with (publish_via_partition_root = true)"
            advice.append(f"Publish the other tables by their names instead: {what}.")
        else:
            advice.append("Drop these tables from it.")
    return problems, advice


def _configs(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    if not _row(connection, queries.IS_DEPLOYED)[0] or not _row(connection, queries.RIGHTS)[0]:
        return
    found = connection.execute(queries.CONFIGS_IN_TURN, binary=True).fetchall()
    for pipeline_id, returns, actors in found:
        yield Check(
            "configs",
            "warning",
            f"{pipeline_id}: configs take turns, {returns} have returned within an hour "
            f"(registered by {actors})",
            "Stop one of the deployments that register it, or give it a pipeline_id of its own.",
        )
    if not found:
        yield Check("configs", "ok", "no pipeline is registered with different configs in turn")


_BEFORE_TRUST = (_connection, _server, _pooling, _names)
_CHECKS = (
    _writes,
    _isolation,
    _owner,
    _release,
    _roles,
    _rights,
    _sessions,
    _replication,
    _clock,
    _zones,
    _configs,
)


def _offset(seconds: int) -> str:
    sign = "-" if seconds < 0 else "+"
    return f"{sign}{abs(seconds) // 3600:02d}:{abs(seconds) % 3600 // 60:02d}"


def _conninfo_keys(connection: psycopg.Connection[Any]) -> set[str]:
    return set(connection.info.get_parameters())


def _row(connection: psycopg.Connection[Any], statement: str) -> tuple[Any, ...]:
    # Binary, as in `calls`: text would follow the session's DateStyle.
    row: tuple[Any, ...] | None = connection.execute(statement, binary=True).fetchone()
    if row is None:
        raise LedgerError("the server gave no answer to a question of the doctor")
    return row
