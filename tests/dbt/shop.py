"""The tests' consumer project, a shop, on a test's database: its orders, runs and records."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from psycopg.types.json import Jsonb

from tests.dbt.support import PROJECT, Dbt, Outcome
from tests.support.clock import Clock
from tests.support.databases import Connection

CONSUMER = Path(__file__).parent / "consumer"
# Its windows are the local days of a zone, 23 hours long on this one.
CONFIG = {
    "timezone": "Europe/Berlin",
    "x_time_back": "1h",
    "granularity": "1d",
    "start_at": "2026-03-28",
    "retry_delay": "10m",
    "default_record": {"pipeline_id": "orders"},
}
SHORT_DAY = "2026-03-29T00:00:00+01:00"
BY_HOOKS = ("--exclude", "tag:microbatch")


def make_shop(folder: Path) -> Path:
    """Copies the project and installs the package into it, from this checkout."""
    project = shutil.copytree(CONSUMER, folder / "shop")
    packages = {"packages": [{"local": str(PROJECT)}]}
    (project / "packages.yml").write_text(yaml.safe_dump(packages))
    shutil.copy(PROJECT / "profiles.yml", project)
    outcome = Dbt("dbname=none", folder, project)("deps")
    assert outcome.success, outcome.error
    return project


@dataclass
class Shop:
    """One shop: `shop("build")` is dbt on all of its models but those of microbatch."""

    dbt: Dbt
    connection: Connection
    clock: Clock

    def __call__(self, command: str, *arguments: str, run_id: str = "") -> Outcome:
        return self.dbt(command, *BY_HOOKS, *arguments, SHOP_RUN_ID=run_id)

    def retry(self, run_id: str = "") -> Outcome:
        """Retries what failed; dbt's own retry warns of --exclude, which the test did not give."""
        return replace(self.dbt, warn_error=False)("retry", SHOP_RUN_ID=run_id)

    def own_project(self) -> Path:
        """Gives the shop a copy of the project, to be changed; returns its folder."""
        copy = shutil.copytree(self.dbt.project, self.dbt.folder / "own", symlinks=True)
        self.dbt.project = Path(copy)
        return self.dbt.project

    def open(self, **changes: Any) -> None:
        """Registers its pipeline, and adds an order for every half hour of a year."""
        self.connection.execute(
            "select record_ledger.register_pipeline(%s)", [Jsonb({**CONFIG, **changes})]
        )
        self.connection.execute(
            "create schema raw;"
            "create table raw.orders (order_id integer, ordered_at timestamptz, amount integer);"
            "insert into raw.orders select n, timestamptz '2026-01-01 00:00Z' + n * interval '30m',"
            " 50 from generate_series(0, 48 * 365 - 1) as n"
        )

    def spoil_orders_of(self, window_start: str, amount: int = 0) -> None:
        """Gives the first order of a window an amount that makes order_shares divide by zero."""
        self.connection.execute(
            "update raw.orders set amount = %s where ordered_at = %s", [amount, window_start]
        )

    def loaded(self, table: str = "orders") -> list[tuple[str, int]]:
        """Returns the local days of a table, each with the half hours of its orders."""
        return self.connection.execute(
            "select (ordered_at at time zone 'Europe/Berlin')::date::text, count(*) "
            f"from analytics.{table} group by 1 order by 1"
        ).fetchall()

    def has(self, table: str) -> bool:
        """Returns whether a model was ever built."""
        found = self.connection.execute("select to_regclass(%s)", [f"analytics.{table}"])
        return found.fetchone() != (None,)

    def records(self) -> list[tuple[Any, ...]]:
        """Returns local day, status, attempt and run of each record that was ever passed."""
        return self.connection.execute(
            "select target_day::text, status, attempt, run_id "
            "from record_ledger.pipeline_records where last_event is not null "
            "order by window_start_time"
        ).fetchall()

    def last_detail(self) -> dict[str, Any]:
        """Returns the detail of the newest event."""
        row = self.connection.execute(
            "select detail from record_ledger.record_events order by event_time desc, "
            "window_start_time desc, event_no desc limit 1"
        ).fetchone()
        assert row is not None
        detail: dict[str, Any] = row[0]
        return detail
