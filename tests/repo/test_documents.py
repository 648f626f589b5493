"""Every session that a document shows runs and prints what the document shows."""

from __future__ import annotations

import pytest

from tests.support.doc_sessions import DocumentSession
from tests.support.documents import RUN, RUN_IN_AIRFLOW, read_blocks
from tests.support.repository import ROOT, files, text

DOCUMENTS = [path for path in files() if path.suffix == ".md"]
# Each starts dbt and servers dozens of times.
SLOW = ("README.md", "dbt_project/README.md")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=str(path), marks=[pytest.mark.slow] if str(path) in SLOW else [])
        for path in DOCUMENTS
    ],
)
def test_a_document_prints_what_it_shows(path, databases, tmp_path):
    dsn = databases.clone()
    try:
        with DocumentSession(dsn, tmp_path) as session:
            session.run(ROOT / path, str(path))
    finally:
        databases.drop(dsn)


def test_what_a_document_shows_but_nobody_runs_is_set_up_only():
    """A session is not run only where it installs something; those of README.md are run by .ci.

    What needs an Airflow is run by tests/airflow.
    """
    unrun = [
        block
        for path in DOCUMENTS
        for block in read_blocks(ROOT / path, str(path))
        if block.language in RUN
        and block.directives.get("not run", RUN_IN_AIRFLOW) != RUN_IN_AIRFLOW
    ]
    not_set_up = [
        f"{block.place}: {block.directives['not run']}"
        for block in unrun
        if not any(word in block.text for word in ("install", "docker", "packages:", "uv run"))
    ]
    assert not not_set_up


def test_the_set_up_commands_are_those_that_ci_runs():
    ci = text(next(path for path in files() if path.parts == (".ci", "run")))
    readme = text(next(path for path in files() if path.parts == ("README.md",)))
    for command in ("uv run record-ledger demo", "uv run pytest"):
        assert f"python3 -m pip install uv && {command}" in readme
        assert command in ci
