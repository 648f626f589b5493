"""The picture and the table of the benchmarks agree with the committed data file."""

from __future__ import annotations

import pytest

from tests.benchmarks.instructions import CASES, FIGURES
from tests.benchmarks.report import DATA, documents, load


@pytest.mark.parametrize("name", ["results.svg", "results.md"])
def test_what_is_shown_is_drawn_from_the_committed_data(name):
    assert DATA.with_name(name).read_text(encoding="utf-8") == documents(load())[name]


def test_the_data_name_versions_and_machine():
    taken = load()["taken"]
    assert {"processor", "cores", "memory_gb", "load_at_start"} <= taken.keys()
    assert {"PostgreSQL", "record-ledger", "psycopg"} <= taken["versions"].keys()


def test_every_case_of_instructions_has_its_figures():
    assert FIGURES.keys() == CASES.keys()
