"""What the tests inside Airflow stand on; imported only where Airflow is installed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.documents import RUN_IN_AIRFLOW, read_blocks
from tests.support.repository import ROOT

EXAMPLES = ROOT / "python_runner" / "record_ledger" / "airflow" / "example_dags"
DOCUMENTS = (ROOT / "README.md", ROOT / "python_runner" / "docs" / "airflow.md")
TEST_DAGS = ROOT / "tests" / "airflow" / "dags"


def lay_out(home: Path) -> None:
    """Fills an Airflow home with the DAG files of the examples and of the tests."""
    folder = home / "dags"
    folder.mkdir()
    for file in [*EXAMPLES.glob("example_*.py"), *TEST_DAGS.glob("*.py")]:
        shutil.copy(file, folder)


def lay_out_documented(home: Path) -> None:
    """Adds the DAGs of the documents, word for word."""
    for page in DOCUMENTS:
        for block in read_blocks(page):
            if block.directives.get("not run") == RUN_IN_AIRFLOW:
                file = home / "dags" / f"{page.stem.lower()}_{block.line}.py"
                file.write_text(block.text + "\n", encoding="utf-8")


def settings(home: Path) -> dict[str, str]:
    """Returns the environment that makes `home` Airflow's, alone and without the network."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_COLOR": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


class Run:
    """A DAG run that has ended: `state`, `tasks` by name, XComs."""

    def __init__(self, run: Any) -> None:
        self.dag_id, self.run_id, self.state = run.dag_id, run.run_id, str(run.state)
        # What makes `DAG.test` run it once more, as clearing all its tasks does.
        self.same = {"logical_date": run.logical_date, "run_after": run.run_after}
        self.tasks = {
            f"{ti.task_id}[{ti.map_index}]" if ti.map_index >= 0 else ti.task_id: str(ti.state)
            for ti in run.get_task_instances()
        }
        self.tries = {ti.task_id: ti.try_number for ti in run.get_task_instances()}

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Returns what a task has left for others."""
        from airflow.models.xcom import XComModel
        from airflow.sdk.serde import deserialize
        from airflow.utils.session import create_session

        with create_session() as session:
            query = XComModel.get_many(
                run_id=self.run_id, dag_ids=self.dag_id, task_ids=task_id, key=key,
                map_indexes=map_index,
            )  # fmt: skip
            found = session.execute(query.with_only_columns(XComModel)).scalars().first()
            return None if found is None else deserialize(XComModel.deserialize_value(found))


def make_context(
    *, dag_id: str = "dag", run_id: str = "run", task_id: str = "task", map_index: int = -1,
    try_number: int = 1, max_tries: int = 0, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Returns the part of a task's context that the ledger's operators read."""
    ti = SimpleNamespace(
        dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index,
        try_number=try_number, max_tries=max_tries,
    )  # fmt: skip
    return {"ti": ti, **more}
