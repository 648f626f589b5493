"""Every session that a document shows runs and prints what the document shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.doc_sessions import DocumentSession
from tests.support.documents import RUN, RUN_IN_AIRFLOW, Block, commands, read_blocks
from tests.support.repository import ROOT, files, text

DOCUMENTS = [path for path in files() if path.suffix == ".md"]
# A page that starts more processes of ours than this is left to the slow tests.
MOST_STARTS = 2


def run_blocks(path: Path) -> list[Block]:
    return [
        block
        for block in read_blocks(ROOT / path, str(path))
        if block.language in RUN and "not run" not in block.directives
    ]


def starts(path: Path) -> int:
    """Returns how many commands of the page start a Python, which a dbt and a session are too."""
    texts = [
        command.text
        for block in run_blocks(path)
        if block.language == "console"
        for command in commands(block)
    ]
    texts += [block.text for block in run_blocks(path) if block.language == "bash"]
    of_sessions = 3 * any(block.language == "python" for block in run_blocks(path))
    return of_sessions + sum(
        len(re.findall(r"\b(?:record-ledger|python|dbt) (?!deps)", text)) for text in texts
    )


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=str(path), marks=[pytest.mark.slow] * (starts(path) > MOST_STARTS))
        for path in DOCUMENTS
        if run_blocks(path)
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
    """A session is not run only where it sets something up; those of README.md are run by .ci.

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
