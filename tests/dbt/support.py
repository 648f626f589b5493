"""Runs dbt on a test's database, in this process or as a command, and reads what it built."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from psycopg.conninfo import conninfo_to_dict

from tests.support.databases import Connection
from tests.support.repository import ROOT

PROJECT = ROOT / "dbt_project"
SCHEMA = "analytics"
RULES = (
    "claim_mismatches",
    "event_mismatches",
    "run_conflicts",
    "window_gaps",
    "window_overlaps",
)
WITHOUT_UNIT_TESTS = ("--exclude-resource-type", "unit_test")
MARTS = (
    "daily_coverage", "lateness", "pipeline_slo", "pipeline_status", "record_timeline",
    "unstored_windows",
)  # fmt: skip
MODELS = (*MARTS, "rule_violations", *RULES)
# dbt skips these when the models that they read could not be built.
ON_MODELS = ("pipeline_slo", "rule_violations")

_VARIABLES = {
    "host": "RECORD_LEDGER_DBT_HOST",
    "port": "RECORD_LEDGER_DBT_PORT",
    "user": "RECORD_LEDGER_DBT_USER",
    "password": "DBT_ENV_SECRET_RECORD_LEDGER_PASSWORD",
    "dbname": "RECORD_LEDGER_DBT_DBNAME",
}
_QUIET = {
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DBT_VERSION_CHECK": "false",
    "DO_NOT_TRACK": "1",
    "NO_COLOR": "1",
}


def environment(dsn: str, folder: Path, **changes: str) -> dict[str, str]:
    """Returns the environment in which the project's own profile connects to `dsn`.

    dbt leaves its artifacts and logs in `folder`. The caller's own dbt and libpq settings have no
    effect.
    """
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("DBT_", "PG", "RECORD_LEDGER_DBT_"))
    }
    connection = {
        _VARIABLES[key]: str(value)
        for key, value in conninfo_to_dict(dsn).items()
        if key in _VARIABLES
    }
    places = {"DBT_TARGET_PATH": str(folder / "target"), "DBT_LOG_PATH": str(folder / "logs")}
    return {**inherited, **_QUIET, **connection, **places, **changes}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one dbt command: `results` maps each node's name to its status."""

    success: bool
    results: dict[str, str]
    messages: dict[str, str]
    error: str
    log: str

    def named(self, status: str) -> set[str]:
        return {name for name, found in self.results.items() if found == status}


@dataclass
class Dbt:
    """dbt in this process, on one project and one database; warnings are errors by default."""

    dsn: str
    folder: Path
    project: Path = PROJECT
    warn_error: bool = True

    def __call__(self, *arguments: str, **changes: str) -> Outcome:
        """Runs a command; `changes` are environment variables."""
        from dbt.cli.main import dbtRunner

        project = ["--project-dir", str(self.project), "--profiles-dir", str(self.project)]
        logged: list[tuple[str, str]] = []

        def note(event: Any) -> None:
            if event.info.level != "debug":
                logged.append((event.info.level, event.info.msg))

        with _surroundings(environment(self.dsn, self.folder, **changes)):
            runner = dbtRunner(callbacks=[note])
            strict = ["--warn-error"] if self.warn_error else []
            done = runner.invoke([*strict, "--quiet", *arguments, *project])
        results = list(getattr(done.result, "results", None) or [])
        return Outcome(
            success=done.success,
            results={_name(result): str(result.status) for result in results},
            messages={_name(result): str(result.message) for result in results},
            # An operation's error is only logged.
            error=str(done.exception or "\n".join(m for level, m in logged if level == "error")),
            log="\n".join(message for _, message in logged),
        )

    def build(self, *arguments: str, **changes: str) -> Outcome:
        """Builds and tests everything, and demands that it succeeds."""
        return self._demand("build", *arguments, **changes)

    def build_and_check(self, *arguments: str, **changes: str) -> Outcome:
        """Builds without the unit tests, which test the models and not the data."""
        return self._demand("build", *WITHOUT_UNIT_TESTS, *arguments, **changes)

    def run(self, *arguments: str, **changes: str) -> Outcome:
        """Builds the models without testing anything."""
        return self._demand("run", *arguments, **changes)

    def _demand(self, *arguments: str, **changes: str) -> Outcome:
        outcome = self(*arguments, **changes)
        failed = {
            name: outcome.messages[name]
            for name, status in outcome.results.items()
            if status not in ("success", "pass", "no-op")
        }
        assert outcome.success and not failed, f"{outcome.error}\n{json.dumps(failed, indent=2)}"
        return outcome

    def artifact(self, name: str) -> dict[str, Any]:
        """Returns a file that the last command wrote: 'manifest', 'catalog' ..."""
        path = self.folder / "target" / f"{name}.json"
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content


def _name(result: Any) -> str:
    """Returns a result's subject: a node, or a macro that was run by itself."""
    node = getattr(result, "node", None)
    return str(result.unique_id if node is None else node.name)


@contextmanager
def _surroundings(variables: dict[str, str]) -> Iterator[None]:
    """Lets dbt see that environment and nothing else, and allows its warnings."""
    with mock.patch.dict(os.environ, variables, clear=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def dbt_command() -> str:
    """Returns the program `dbt` of the environment that the tests run in."""
    program = shutil.which("dbt", path=str(Path(sys.executable).parent))
    assert program is not None, "dbt is not installed beside this Python"
    return program


# What a dbt run could change in the ledger: objects and their catalog rows, columns, functions,
# triggers, comments and grants.
_CATALOG = """
select 'relation', c.oid::text, c.xmin::text, c.relname, c.relacl::text
from pg_class as c
where c.relnamespace = 'record_ledger'::regnamespace
union all
select 'column', a.attrelid::text, a.xmin::text, a.attname, a.attacl::text
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid
where c.relnamespace = 'record_ledger'::regnamespace
union all
select 'routine', p.oid::text, p.xmin::text, p.proname, p.proacl::text
from pg_proc as p
where p.pronamespace = 'record_ledger'::regnamespace
union all
select 'trigger', t.oid::text, t.xmin::text, t.tgname, null
from pg_trigger as t
join pg_class as c on c.oid = t.tgrelid
where c.relnamespace = 'record_ledger'::regnamespace
union all
select 'rule', w.oid::text, w.xmin::text, w.rulename, null
from pg_rewrite as w
join pg_class as c on c.oid = w.ev_class
where c.relnamespace = 'record_ledger'::regnamespace
union all
select 'comment', d.objoid::text || '.' || d.objsubid, d.xmin::text, d.description, null
from pg_description as d
where d.objoid in (
    select c.oid from pg_class as c where c.relnamespace = 'record_ledger'::regnamespace
    union all
    select p.oid from pg_proc as p where p.pronamespace = 'record_ledger'::regnamespace
)
union all
select 'schema', n.oid::text, n.xmin::text, n.nspname, n.nspacl::text
from pg_namespace as n
where n.nspname = 'record_ledger'
order by 1, 2, 3, 4
"""


def catalog_of_the_ledger(connection: Connection) -> list[tuple[Any, ...]]:
    """Returns all that the database knows of schema record_ledger, except its rows."""
    return connection.execute(_CATALOG).fetchall()


def rows_of_the_ledger(connection: Connection) -> dict[str, tuple[Any, ...]]:
    """Returns for each table of the ledger a value that changes with any change of its rows."""
    tables = connection.execute(
        "select relname from pg_class where relkind = 'r' "
        "and relnamespace = 'record_ledger'::regnamespace order by 1"
    ).fetchall()
    found = {}
    for (table,) in tables:
        row = connection.execute(
            f"select count(*), sum(hashtextextended(t::text || t.xmin::text || t.ctid::text, 0)) "
            f"from record_ledger.{table} as t"
        ).fetchone()
        assert row is not None
        found[table] = row
    return found


def rows_of(connection: Connection, model: str) -> list[dict[str, Any]]:
    """Returns the rows of a model as dicts, in the order of its first columns."""
    cursor = connection.execute(f"select * from {SCHEMA}.{model} order by 1, 2, 3")
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
