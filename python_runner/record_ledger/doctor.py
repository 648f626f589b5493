"""Checks that this machine and a database can work together, and says what to do where not."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from . import statements
from .connection import RetryPolicy, Session
from .errors import LedgerError
from .records import zone_offset
from .redaction import redact
from .sql_files import package_release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

OLDEST_SERVER, NEWEST_SERVER = 15, 18
_MOST_SKEW_SECONDS = 2.0
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
        for check in (
            _connection,
            _server,
            _pooling,
            _release,
            _roles,
            _rights,
            _clock,
            _zones,
            _configs,
        ):
            checks += session.run("doctor", partial(_findings, check))
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


def _connection(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    info = connection.info
    yield Check(
        "connection",
        "ok",
        redact(f"{info.user} at {info.host or 'a local socket'}, database {info.dbname}"),
    )


def _server(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    number = _row(connection, statements.SERVER)[0]
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
    backends = {_row(connection, statements.BACKEND)[0] for _ in range(_LOOKS_AT_BACKEND)}
    pooled = len(backends) > 1 or connection.info.backend_pid not in backends
    finding = "through a pooler in transaction mode" if pooled else "no pooler seen"
    yield Check("pooling", "ok", f"{finding}; nothing in use depends on the session")


def _release(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    ours = package_release()
    if not _row(connection, statements.IS_DEPLOYED)[0]:
        advice = "Run `record-ledger deploy` as the owner of the database."
        yield Check("release", "error", "no ledger is deployed here", advice)
    elif not _row(connection, statements.CAN_ASK_RELEASE)[0]:
        yield Check("release", "ok", f"deployed; members of its roles see which (ours is {ours})")
    else:
        theirs = _row(connection, statements.RELEASE)[0]
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
    for role, exists, is_member in connection.execute(statements.ROLES).fetchall():
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


def _rights(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    if not _row(connection, statements.IS_DEPLOYED)[0]:
        return
    user = connection.info.user
    can_read, can_run, owns = _row(connection, statements.RIGHTS)
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
    server = _row(connection, statements.SERVER)[3]
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
    if (
        not _row(connection, statements.IS_DEPLOYED)[0]
        or not _row(connection, statements.RIGHTS)[0]
    ):
        return
    differing: dict[str, str] = {}
    zones = set()
    for zone, instant, server_offset in connection.execute(statements.ZONE_OFFSETS, binary=True):
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


def _configs(connection: psycopg.Connection[Any]) -> Iterator[Check]:
    if (
        not _row(connection, statements.IS_DEPLOYED)[0]
        or not _row(connection, statements.RIGHTS)[0]
    ):
        return
    found = connection.execute(statements.CONFIGS_IN_TURN, binary=True).fetchall()
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


def _offset(seconds: int) -> str:
    sign = "-" if seconds < 0 else "+"
    return f"{sign}{abs(seconds) // 3600:02d}:{abs(seconds) % 3600 // 60:02d}"


def _conninfo_keys(connection: psycopg.Connection[Any]) -> set[str]:
    return set(connection.info.get_parameters())


def _row(connection: psycopg.Connection[Any], statement: str) -> tuple[Any, ...]:
    # Binary, as in `reader`: text would follow the session's DateStyle.
    row: tuple[Any, ...] | None = connection.execute(statement, binary=True).fetchone()
    if row is None:
        raise LedgerError("the server gave no answer to a question of the doctor")
    return row
