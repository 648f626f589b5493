"""Runs one DAG to its end in a process of its own: python -m tests.airflow.run_dag DAG_ID CONF.

The environment names the Airflow home, as `tests.airflow.support.settings` returns it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main(dag_id: str, conf: str) -> int:
    """Returns 0 when the run succeeded."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]))
    run = bag.dags[dag_id].test(run_conf=json.loads(conf))
    return int(str(run.state) != "success")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
