"""The house rules of sql/: a stranger finds the file of any object, and learns its purpose.

These tests check what sqlfluff cannot see: it reads a function's body as a string.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.repository import files, text
from tests.support.sql_headers import (
    COMMAND,
    callers,
    header,
    object_files,
    public_objects,
    untrue_files,
    uses,
)

SQL_FILES = [path for path in files() if path.parts[0] == "sql" and path.suffix == ".sql"]
# Each holds one object, and every deploy applies it again.
OBJECT_FILES = sorted(object_files().values())

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
OPENING_LINES = 20
COLUMNS = 100
COMMENT_COLUMNS = 120


def ids(paths):
    return [str(Path(*path.parts[1:])) for path in paths]


def test_there_are_sql_files():
    assert OBJECT_FILES


@pytest.mark.parametrize("path", SQL_FILES, ids=ids(SQL_FILES))
def test_a_file_opens_with_four_lines_that_say_what_it_is(path):
    """Four lines, or a few more where a file explains a set of values."""
    lines = text(path).splitlines()
    opening = lines[: next(n for n, line in enumerate(lines) if not line.startswith("-- "))]
    assert 4 <= len(opening) <= OPENING_LINES
    assert re.match(r"-- record_ledger[. ]\S.*: \S", opening[0])
    if path not in OBJECT_FILES:
        by = re.compile(r"\b(Read|Called|Applied) by(:| every deploy)")
        assert any(by.search(line) for line in opening[1:])
        assert any("Rules" in line for line in opening[1:])


def test_headers_say_who_calls_each_object_and_what_it_uses():
    assert untrue_files() == [], f"their headers are not true; run: {COMMAND}"


def test_an_object_without_a_caller_is_public_or_gone():
    assert [name for name, by in callers().items() if not by] == []


def test_headers_name_tests_that_are_there():
    there = [path.name for path in files() if path.parts[:2] == ("tests", "sql")]
    wrong = {
        path.stem: found
        for path in OBJECT_FILES
        if not (found := header(path).tests) or any(there.count(name) != 1 for name in found)
    }
    assert wrong == {}


def test_the_drawing_of_the_one_call_names_what_the_call_reaches():
    call = "store_new_and_pass_valid_record"
    _, _, drawing = text(Path("sql/docs/design.md")).partition(f"```text\n{call}(")
    named = re.findall(r"  ([a-z_]+(?:, [a-z_]+)*)$", drawing.partition("```")[0], re.MULTILINE)
    drawn = set(", ".join(named).split(", "))
    reached = {call}
    while more := {name for user in reached for name in uses().get(user, ())} - reached:
        reached |= more
    assert len(drawn) > 20
    assert drawn <= reached
    # The call and the pass make their changes by these.
    changes = {path.stem for path in OBJECT_FILES if path.parts[1] == "changes"}
    assert {name for user in (call, "pass_record") for name in uses()[user]} & changes <= drawn


def test_the_public_list_is_what_lies_in_api_and_views():
    for folder, kinds in (("api", {"function", "procedure"}), ("views", {"view"})):
        listed = {name for name, (kind, *_) in public_objects().items() if kind in kinds}
        assert listed == {path.stem for path in OBJECT_FILES if path.parts[1] == folder}


def test_the_readme_lists_the_public_objects_with_their_arguments_and_files():
    """`name(arguments)`, with "a procedure" or *reader* where that applies; or view `name`."""
    found = {}
    for line in text(Path("sql/README.md")).splitlines():
        row = re.match(r"\| (.*`\w+.*`.*) \| (.*`(?:api|views)/.*) \| .+ \|$", line)
        for name, arguments in re.findall(r"`(\w+)(?:\((.*?)\))?`", row[1]) if row else ():
            kind = next((k for k in ("procedure", "view") if k in row[1]), "function")
            found[name] = (kind, arguments, "reader" if "*reader*" in row[1] else "runner", row[2])
    assert list(found) != []
    assert set(found) == set(public_objects())
    for name, (kind, types, role) in public_objects().items():
        path = object_files()[name]
        file = f"`{Path(*path.parts[1:])}`"
        assert found[name][0] == kind, name
        if kind != "view":
            assert found[name][2] == role, name
            assert (found[name][1], found[name][3]) == (parameters(path, types), file), name
        else:
            assert file in found[name][3] or "files of these names" in found[name][3], name


def parameters(path, types):
    """The names of a routine's first parameters, as many as it has types, from its file."""
    sql = re.sub(r"--[^\n]*", "", text(path))
    (declared,) = re.findall(r"^create or replace \w+ [\w.]+\((.*)", sql, re.MULTILINE | re.DOTALL)
    names = re.findall(r"(?:^|,)\s*(?:inout )?(\w+) [a-z]", declared)
    return ", ".join(names[: len(types.split(", ")) if types else 0])


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
    # A sentence of `comment on` stays on one line, because dbt and analysts show it.
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


def test_migrations_describe_nothing_any_more():
    """comments.sql has the comments, and every deploy applies it; a migration never changes."""
    new = [path for path in SQL_FILES if path.parts[1] == "migrations" and path.stem >= "0011"]
    assert [path.name for path in new if re.search(r"\bcomment on\b", text(path))] == []


def test_object_names_are_not_used_twice():
    names = [path.stem for path in OBJECT_FILES]
    assert len(names) == len(set(names))


def test_no_routine_writes_a_status():
    """They name an event; only check_record_change writes the status that follows."""
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
