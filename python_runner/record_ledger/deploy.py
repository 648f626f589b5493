"""Deploys the ledger's SQL to a database and reports what that changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import logs, statements
from .connection import RetryPolicy, Session
from .errors import PermissionDenied
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


def deploy(conninfo: str | None = None, *, retry: RetryPolicy | None = None) -> DeployResult:
    """Brings the database to this release in one transaction; deploying again changes nothing.

    Runs exactly the text of `sql_files.deploy_script`, as any user who owns the database.

    :raises DeployRefused: when the database holds a newer release or an edited migration.
    :raises PermissionDenied: when the user may not create the ledger's schema.
    :raises LedgerUnavailable: when the database cannot be reached.
    """
    release = package_release()
    script = deploy_script(release)
    notices: list[str] = []

    def notice(severity: str, message: str) -> None:
        logs.server_notice(severity, message)
        if severity == "WARNING":
            notices.append(message)

    session = Session(conninfo, retry, notice)
    try:
        with logs.timed("deploy", release=release) as outcome:
            releases, before = session.run("deploy", _state)
            notices.clear()
            session.run(
                "deploy", lambda connection: _run_script(connection, script), calls_ledger=False
            )
            _, after = session.run("deploy", _state)
            result = DeployResult(
                release=release,
                previous_release=releases[-1] if releases else None,
                applied_migrations=tuple(name for name in after if name not in before),
                notices=tuple(dict.fromkeys(notices)),
            )
            outcome["outcome"] = result.outcome
    except PermissionDenied as error:
        hint = session.run("deploy", _who_may_deploy) or error.hint
        raise PermissionDenied(error.message, sqlstate=error.sqlstate, hint=hint) from error
    finally:
        session.close()
    return result


def deploy_if_missing(conninfo: str | None = None) -> None:
    """Deploys to a database that holds no ledger; leaves one that does as it is."""
    session = Session(conninfo)
    try:
        releases, _ = session.run("deploy", _state)
    finally:
        session.close()
    if not releases:
        deploy(conninfo)


def _state(connection: psycopg.Connection[Any]) -> tuple[list[str], list[str]]:
    """Returns the releases deployed so far, oldest first, and the names of applied migrations."""
    deployed = connection.execute(statements.IS_DEPLOYED).fetchone()
    if deployed is None or not deployed[0]:
        return [], []
    releases = [row[0] for row in connection.execute(statements.RELEASES)]
    migrations = [row[0] for row in connection.execute(statements.MIGRATIONS)]
    return releases, migrations


def _who_may_deploy(connection: psycopg.Connection[Any]) -> str | None:
    """Returns what a user lacks who was refused; None when that is not about the schema."""
    row = connection.execute(statements.WHO_MAY_DEPLOY).fetchone()
    if row is None:
        return None
    user, database, owner, acts_as_owner, may_create = row
    if owner is not None and not acts_as_owner:
        return (
            f"The ledger here belongs to {owner}: deploy as that user, or have an administrator "
            f"run `grant {owner} to {user}`."
        )
    if owner is None and not may_create:
        return (
            f"Deploy as the owner of the database, or have that one run "
            f"`grant create on database {database} to {user}`."
        )
    return None


def _run_script(connection: psycopg.Connection[Any], script: str) -> None:
    # Sent without parameters, so the server takes the many statements as one; the script's own
    # begin and commit make it one transaction, and an error leaves that open for _after_failure.
    connection.execute(script)
