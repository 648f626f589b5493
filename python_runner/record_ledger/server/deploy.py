"""Deploys the ledger's SQL to a database and reports what that changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from record_ledger import logs, queries
from record_ledger.connection import RetryPolicy, Session
from record_ledger.errors import PermissionDenied

from .sql_files import deploy_script, package_release

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class DeployResult:
    """What a deploy did: the release it brought and the migrations it applied.

    `previous_release` is None in a database that had no ledger. `notices` are the server's
    warnings, such as a role that the user may not create.
    """

    release: str
    previous_release: str | None
    applied_migrations: tuple[str, ...]
    notices: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """One word: fresh, upgraded or unchanged."""
        if self.previous_release is None:
            return "fresh"
        if self.applied_migrations or self.previous_release != self.release:
            return "upgraded"
        return "unchanged"


def deploy(
    conninfo: str | None = None, *, retry: RetryPolicy | None = None, owner: str | None = None
) -> DeployResult:
    """Brings the database to this release in one transaction; deploying again changes nothing.

    Runs exactly the text of `sql_files.deploy_script`, as any user who owns the database. The
    ledger belongs to the role that it belonged to, at first to the user; or to `owner`, a role that
    the user is a member of.

    :raises DeployRefused: when the database holds a newer release or an edited migration, when
        anything in its schema belongs to a role that the user cannot trust, or when another
        session kept what the deploy needs.
    :raises PermissionDenied: when the user may not create the ledger's schema.
    :raises LedgerUnavailable: when the database cannot be reached.
    """
    release = package_release()
    script = deploy_script(release, owner=owner)
    notices: list[str] = []

    def notice(severity: str, message: str) -> None:
        logs.server_notice(severity, message)
        if severity == "WARNING":
            notices.append(message)

    session = Session(conninfo, retry, notice)
    try:
        with logs.timed("deploy", release=release) as outcome:
            # Nothing in the schema is read before the script has found that it can be trusted.
            began_at = session.run("deploy", _now, calls_ledger=False)
            notices.clear()
            session.run(
                "deploy", lambda connection: _run_script(connection, script), calls_ledger=False
            )
            previous, applied = session.run(
                "deploy", lambda found: _changes(found, began_at), calls_ledger=False
            )
            result = DeployResult(
                release=release,
                previous_release=previous,
                applied_migrations=applied,
                notices=tuple(dict.fromkeys(notices)),
            )
            outcome["outcome"] = result.outcome
    except PermissionDenied as error:
        hint = session.run("deploy", _how_to_deploy, calls_ledger=False) or error.hint
        raise PermissionDenied(error.message, sqlstate=error.sqlstate, hint=hint) from error
    finally:
        session.close()
    return result


def deploy_if_missing(conninfo: str | None = None) -> None:
    """Deploys to a database that holds no ledger; leaves one that does as it is."""
    session = Session(conninfo)
    try:
        is_deployed = session.run("deploy", _is_deployed)
    finally:
        session.close()
    if not is_deployed:
        deploy(conninfo)


def _is_deployed(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(queries.IS_DEPLOYED).fetchone()
    return row is not None and bool(row[0])


def _now(connection: psycopg.Connection[Any]) -> str:
    """Returns the server's time as text, to be sent back as it came."""
    row = connection.execute(queries.SERVER_TIME).fetchone()
    return "" if row is None else str(row[0])


def _changes(
    connection: psycopg.Connection[Any], began_at: str
) -> tuple[str | None, tuple[str, ...]]:
    """Returns the newest release deployed before that time, and the migrations applied since."""
    releases = [row[0] for row in connection.execute(queries.RELEASES_BEFORE, [began_at])]
    migrations = connection.execute(queries.MIGRATIONS_SINCE, [began_at])
    return (releases[-1] if releases else None), tuple(row[0] for row in migrations)


def _how_to_deploy(connection: psycopg.Connection[Any]) -> str | None:
    """Returns what a user lacks who may not create the schema; None when that is not it."""
    row = connection.execute(queries.MAY_CREATE_SCHEMA).fetchone()
    if row is None or row[2]:
        return None
    user, database, _ = row
    return (
        f"Deploy as the owner of the database, or have that one run "
        f"`grant create on database {database} to {user}`."
    )


def _run_script(connection: psycopg.Connection[Any], script: str) -> None:
    # Sent without parameters, so the server takes the many statements as one; the script's own
    # begin and commit make it one transaction, and an error leaves that open for _after_failure.
    connection.execute(script)
