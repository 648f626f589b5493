"""The house rules of sql/: a stranger finds the file of any object, and knows what it is for.

What sqlfluff cannot see (it takes a function's body for a string) is checked here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.repository import files, text

SQL_FILES = [path for path in files() if path.parts[0] == "sql" and path.suffix == ".sql"]
# Each holds one object and is applied anew by every deploy.
OBJECT_FOLDERS = ("api", "changes", "rules", "triggers", "views")
OBJECT_FILES = [path for path in SQL_FILES if path.parts[1] in OBJECT_FOLDERS]

CREATED = re.compile(
    r"^create (?:or replace )?(?:function|procedure|view|trigger|table|type)\s+"
    r"(?:record_ledger\.)?(\w+)",
    re.MULTILINE | re.IGNORECASE,
)
KEYWORDS = re.compile(
    r"\b(?:SELECT|FROM|WHERE|INSERT|UPDATE|DELETE|BEGIN|END|RETURN|IF|THEN|ELSE|LOOP|JOIN|NULL|AND|OR|"
    r"NOT|CREATE|FUNCTION|RAISE|DECLARE|PERFORM)\b"
)
STRINGS_AND_COMMENTS = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
OPENING_LINES = 12
COLUMNS = 100
COMMENT_COLUMNS = 120


def ids(paths):
    return [str(Path(*path.parts[1:])) for path in paths]


def test_there_are_sql_files():
    assert OBJECT_FILES


@pytest.mark.parametrize("path", SQL_FILES, ids=ids(SQL_FILES))
def test_a_file_opens_with_four_lines_that_say_what_it_is(path):
    """Four, or a few more where a file explains a set of values."""
    lines = text(path).splitlines()
    opening = lines[: next(n for n, line in enumerate(lines) if not line.startswith("-- "))]
    assert 4 <= len(opening) <= OPENING_LINES
    assert re.match(r"-- record_ledger[. ]\S.*: \S", opening[0])
    assert any(re.search(r"\b(Read|Called|Applied|Set)\b.* by: ", line) for line in opening[1:])
    assert any("Rules" in line for line in opening[1:])


@pytest.mark.parametrize("path", OBJECT_FILES, ids=ids(OBJECT_FILES))
def test_a_file_is_named_after_the_one_object_it_creates(path):
    sql = text(path)
    assert set(CREATED.findall(sql)) == {path.stem}
    assert sql.startswith(f"-- record_ledger.{path.stem}: ")


@pytest.mark.parametrize("path", OBJECT_FILES, ids=ids(OBJECT_FILES))
def test_an_object_is_replaceable_and_described_in_its_own_file(path):
    sql = text(path)
    assert re.search(rf"^create or replace \w+ record_ledger\.{path.stem}\b", sql, re.MULTILINE)
    described = rf"^comment on (?:function|procedure|view) record_ledger\.{path.stem}\b"
    assert re.search(described, sql, re.MULTILINE)


@pytest.mark.parametrize("path", SQL_FILES, ids=ids(SQL_FILES))
def test_keywords_are_lowercase_also_inside_bodies(path):
    assert not KEYWORDS.findall(STRINGS_AND_COMMENTS.sub("", text(path)))


def test_code_fits_into_a_hundred_columns_and_comments_are_not_much_wider():
    # A sentence of `comment on` stays on one line: it is what dbt and analysts are shown.
    prose = re.compile(r"'.*(?:;|\|\|)?$|comment on .*;$")
    too_long = [
        f"{path}:{number}: {len(line)}"
        for path in SQL_FILES
        for number, line in enumerate(text(path).splitlines(), start=1)
        if len(line) > (COMMENT_COLUMNS if line.lstrip().startswith("--") else COLUMNS)
        and not prose.match(line)
    ]
    assert not too_long, "\n".join(too_long)


@pytest.mark.parametrize("path", OBJECT_FILES, ids=ids(OBJECT_FILES))
def test_no_text_has_a_backslash_but_those_that_say_so(path):
    """A body is read with the caller's standard_conforming_strings: to some, '\\d' is a plain d."""
    texts = re.findall(r"(?<![\w'])'(?:[^']|'')*'", re.sub(r"--[^\n]*", "", text(path)))
    assert [found for found in texts if "\\" in found] == []


def test_migrations_are_numbered_one_after_another():
    names = [path.stem for path in SQL_FILES if path.parts[1] == "migrations"]
    assert [name[:5] for name in names] == [f"{n:04}_" for n in range(1, len(names) + 1)]


def test_object_names_are_not_used_twice():
    names = [path.stem for path in OBJECT_FILES]
    assert len(names) == len(set(names))


def test_no_routine_writes_a_status():
    """They name an event; the status that follows is written by check_record_change alone."""
    assigned = [
        (path.name, written)
        for path in OBJECT_FILES
        for written in re.findall(
            r"update record_ledger\.record\b.*?\bset\b(.*?)\n\s*(?:from|where)\b",
            text(path),
            re.DOTALL,
        )
    ]
    assert len(assigned) >= 4
    writers = [name for name, written in assigned if re.search(r"(?<![.\w])status\s*=", written)]
    assert writers == []
