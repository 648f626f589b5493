"""The workflow in the package's README does what it says: all its steps but Install are run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from tests.dbt.support import environment
from tests.support.configs import make_config
from tests.support.documents import read_blocks
from tests.support.repository import ROOT
from tests.support.server import DEFAULT_VERSION, postgres_binaries


@pytest.fixture(scope="module")
def job():
    (workflow,) = [
        yaml.safe_load(block.text)
        for block in read_blocks(ROOT / "dbt_project" / "README.md")
        if block.language == "yaml" and "runs-on" in block.text
    ]
    (job,) = workflow["jobs"].values()
    return job


@pytest.fixture
def checkout(consumer, tmp_path):
    """What the steps find once all is installed: the pull request, the main branch beside it."""
    dbt = consumer()
    for side in (dbt.project, tmp_path / "base"):
        (side / "pipelines").mkdir(parents=True)
        (side / "venv").mkdir()
        # Where the steps look for an environment there is the one that the tests run in.
        (side / "venv" / "bin").symlink_to(Path(sys.executable).parent)
    return dbt.project


def run_steps(job, folder, dsn):
    """Runs the steps in their order, each as the workflow's shell would; returns their outputs."""
    given = {"port": 5432, **conninfo_to_dict(dsn)}
    libpq = {f"PG{name.upper()}": str(given[name]) for name in ("host", "port", "user")}
    libpq["PGDATABASE"] = str(given["dbname"])
    variables = {**environment(dsn, folder), **libpq}
    variables["PATH"] = f"{postgres_binaries(DEFAULT_VERSION)}:{variables['PATH']}"
    own = {name: value for name, value in job["env"].items() if name in ("STORE", "VERDICTS")}
    summary = folder / "summary.md"
    said = {}
    for step in job["steps"]:
        if "run" not in step or step["name"] == "Install":
            continue
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=folder, capture_output=True, text=True, check=False,
            env={**variables, **own, "GITHUB_STEP_SUMMARY": str(summary)},
        )  # fmt: skip
        assert done.returncode == 0, (step["name"], done.stdout, done.stderr)
        said[step["name"]] = done.stdout
    return said, summary.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_workflow_shows_how_a_change_of_a_config_changes_verdicts(job, checkout, empty_dsn):
    daily = {"start_at": "2026-11-01", "granularity": "1d", "x_time_back": "1h"}
    config = make_config("orders", fields={"file": ""}, **daily)
    stricter = {**config, "check_fields": ["file"]}
    base, head = checkout.parent / "base" / "pipelines", checkout / "pipelines"
    (base / "orders.json").write_text(json.dumps(config))
    (head / "orders.json").write_text(json.dumps(stricter))

    said, summary = run_steps(job, checkout, empty_dsn)

    assert "PASS" in said["The rules hold"]
    lines = summary.splitlines()
    assert (lines[0], lines[-1]) == ("```diff", "```")
    assert any(line.startswith("-orders,") and ",READY," in line for line in lines)
    assert any(
        line.startswith("+orders,") and ",INCOMPLETE," in line and "file is empty" in line
        for line in lines
    )


def test_the_workflow_names_nothing_that_is_not_there(job):
    steps = [step["name"] for step in job["steps"] if "run" in step]
    assert steps == [
        "Install", "Verdicts of the main branch", "Verdicts of this change", "The rules hold",
        "What changes",
    ]  # fmt: skip
