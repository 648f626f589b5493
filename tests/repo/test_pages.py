"""The pages are consistent: links have targets, named files exist, tables agree with code."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.repository import files, text

PAGES = [path for path in files() if path.suffix == ".md"]
README = Path("README.md")
# dbt renders the first as a page of its own, and the benchmarks write the second.
NOT_BY_LINK = {Path("dbt_project/models/overview.md"), Path("tests/benchmarks/results.md")}
FENCED = re.compile(r"^\s*```.*?^\s*```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)\)")
NAMED_FILE = re.compile(r"`((?:[\w.-]+/)*\w[\w.-]*\.(?:py|sql))`")


def prose(path: Path) -> str:
    return FENCED.sub("", text(path))


def links(path: Path) -> list[tuple[Path, str]]:
    """Returns the targets of the page's relative links: the path from the root, and the anchor."""
    found = []
    for target in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = Path(os.path.normpath(path.parent / name)) if name else path
        found.append((page, anchor))
    return found


def anchors(path: Path) -> set[str]:
    """Returns the names of a page's headings in links, as usual readers of Markdown make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?)\s*$", prose(path), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        while name in found:
            name += "-1"
        found.add(name)
    return found


def sql(name: str) -> str:
    """Returns the text of the file of sql/ with that name, in any folder."""
    (path,) = (path for path in files() if path.parts[0] == "sql" and path.name == name)
    return text(path)


def column(page: str, heading: str) -> list[str]:
    """Returns the first column of the first table below a heading."""
    section = text(Path(page)).split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    return [line.split("|")[1].strip().strip("`") for line in table[0].splitlines()[2:]]


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_each_relative_link_leads_somewhere(path):
    known = set(files()) | {parent for file in files() for parent in file.parents}
    broken = [
        f"{target}#{anchor}"
        for target, anchor in links(path)
        if target not in known or (anchor and anchor not in anchors(target))
    ]
    assert not broken


def test_each_page_can_be_reached_from_the_readme():
    reached, ahead = {README}, [README]
    while ahead:
        for target, _ in links(ahead.pop()):
            if target.suffix == ".md" and target not in reached:
                reached.add(target)
                ahead.append(target)
    assert set(PAGES) - reached - NOT_BY_LINK == set()


def test_the_readme_is_short():
    assert len(text(README).splitlines()) <= 250


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_each_file_that_a_page_names_exists(path):
    known = ["/" + str(file) for file in files()]
    missing = [
        name
        for name in NAMED_FILE.findall(prose(path))
        if "NNNN" not in name and not any(file.endswith("/" + name) for file in known)
    ]
    assert not missing


def test_the_table_of_verdicts_is_what_the_ledger_answers():
    answered = {
        verdict
        for path in files()
        if path.parts[0] == "sql" and path.suffix == ".sql"
        for verdict in re.findall(r"\bverdict := '(\w+)'", text(path))
    }
    rows = column("sql/docs/verdicts.md", "## Verdicts")
    assert sorted(rows) == sorted(answered)
    # The order of precedence in the comment that analysts read.
    order = re.search(
        r"'((?:\w+, )+\w+ or \w+): the first that applies", sql("record_verdicts.sql")
    )
    assert order is not None
    of_records = re.split(r", | or ", order[1])
    assert [row for row in rows if row in of_records] == of_records
    for_analysts = column("dbt_project/models/overview.md", "## What a verdict means")
    assert set(rows) - set(for_analysts) == {"ALREADY_DONE"}


def test_each_sqlstate_of_the_ledger_has_a_heading():
    raised = {
        code
        for path in files()
        if path.parts[0] == "sql" and path.suffix == ".sql" and path.parts[1] != "migrations"
        for code in re.findall(r"errcode = '(\w+)'", text(path))
        if re.fullmatch("RL00[1-9]", code)  # RL000 is of notices, RLBLD never leaves the ledger
    }
    headings = re.findall(r"^### (RL\d+): ", text(Path("sql/docs/verdicts.md")), re.MULTILINE)
    assert headings == sorted(raised)


def test_the_table_of_exit_codes_has_those_of_the_command_line():
    (path,) = (path for path in files() if path.name == "exits.py")
    (nothing_to_do,) = re.findall(r"^NOTHING_TO_DO = (\d+)$", text(path), re.MULTILINE)
    rows = column("sql/docs/verdicts.md", "## Exit codes")
    assert rows == ["0", nothing_to_do, "1", "2", "130, 143, 129"]


def test_the_page_of_configs_has_each_key_once():
    keys = re.search(r"select array\[(.*?)\]", sql("config_keys.sql"), re.DOTALL)
    assert keys is not None
    rows = re.findall(r"^\| `(\w+)` \|", text(Path("sql/docs/config.md")), re.MULTILINE)
    # pipeline_id stands in default_record.
    assert sorted([*rows, "pipeline_id"]) == sorted(re.findall(r"'(\w+)'", keys[1]))


def test_the_changelog_begins_with_the_release_that_is_built():
    built = re.search(r'^version = "(.+)"$', text(Path("pyproject.toml")), re.MULTILINE)
    assert built is not None
    headings = re.findall(r"^## (\d+\.\d+\.\d+)", text(Path("sql/CHANGELOG.md")), re.MULTILINE)
    released = [
        path.name.removesuffix(".sql.gz")
        for path in files()
        if path.parent == Path("tests/fixtures/releases")
    ]
    assert headings == [built[1], *sorted(set(released) - {built[1]}, reverse=True)]
