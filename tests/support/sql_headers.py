"""Keeps the headers of sql/ true: who calls each object, what it uses, which tests check it.

    uv run python -m tests.support.sql_headers            rewrites headers that are no longer true
    uv run python -m tests.support.sql_headers --check    names their files, and fails

A header ends with up to three facts: `Called by:` (`Read by:` of a view), `Uses:` and `Tests:`. The
code gives the first two. The third is written by hand, and only its form is checked. Callers are
other objects of sql/, and these:

    record_ledger_reader   members of that role (or of record_ledger_runner): it is public
    the Python runner      a text of the Python package names it
    dbt                    a macro, model, test or source of the dbt package names it
    a deploy               a statement that every deploy runs names it
    its own trigger(s)     the file creates triggers that call it
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from tests.support.repository import ROOT, files, text

COMMAND = "uv run python -m tests.support.sql_headers"
OBJECT_FOLDERS = ("api", "changes", "rules", "triggers", "views")
PUBLIC_LIST = Path("sql/public_objects.sql")
COLUMNS = 120

_FACT = re.compile(r"(Called by|Read by|Uses|Tests): ")
_NAME = re.compile(r"\brecord_ledger\.(\w+)")
_PUBLIC = re.compile(r"\('(view|function|procedure)', '(\w+)(?:\(([^']*)\))?', '(\w+)'\)")


@dataclass(frozen=True)
class Header:
    """The comment that opens a file: the object's description, and the tests that it names."""

    description: list[str]
    tests: list[str]
    facts: list[str]
    body: str


def object_files() -> dict[str, Path]:
    """Returns the file of each function, procedure and view, by its name."""
    return {
        path.stem: path
        for path in files()
        if path.parts[0] == "sql" and path.suffix == ".sql" and path.parts[1] in OBJECT_FOLDERS
    }


@lru_cache(maxsize=1)
def public_objects() -> dict[str, tuple[str, str, str]]:
    """Returns (kind, types of its arguments, role) of each public object, by its name."""
    found = _PUBLIC.findall(text(PUBLIC_LIST))
    return {name: (kind, arguments, role) for kind, name, arguments, role in found}


def header(path: Path) -> Header:
    """Returns the parsed header of a file."""
    lines = text(path).splitlines(keepends=True)
    end = next(n for n, line in enumerate(lines) if not line.startswith("-- "))
    opening = [line[3:].rstrip("\n") for line in lines[:end]]
    start = next((n for n, line in enumerate(opening) if _FACT.match(line)), end)
    facts = " ".join(line.strip() for line in opening[start:])
    tests = re.search(r"Tests: (.*?)\.?$", facts)
    return Header(
        description=opening[:start],
        tests=tests[1].split(", ") if tests else [],
        facts=opening[start:],
        body="".join(lines[end:]),
    )


@lru_cache(maxsize=1)
def uses() -> dict[str, list[str]]:
    """Returns the objects of sql/ that each object names in its code, by its name."""
    deployed = "".join(text(path) for path in files() if path.parts[:2] == ("sql", "deploy"))
    others = re.findall(r"^create or replace function record_ledger\.(\w+)", deployed, re.MULTILINE)
    known = set(object_files()).union(others, [PUBLIC_LIST.stem])
    found = {}
    for name, path in object_files().items():
        named = set(_NAME.findall(_code(header(path).body)))
        found[name] = sorted(named & known - {name})
    return found


@lru_cache(maxsize=1)
def callers() -> dict[str, list[str]]:
    """Returns the callers of each object: words of the list above, then other objects by name."""
    by: dict[str, list[str]] = {}
    outside = (
        ("the Python runner", _named_by_python()),
        ("dbt", _named_by_dbt()),
        ("a deploy", _named_by_a_deploy()),
    )
    for name, path in object_files().items():
        words = []
        if name in public_objects():
            words.append(f"record_ledger_{public_objects()[name][2]}")
        words += [word for word, named in outside if name in named]
        triggers = re.findall(
            rf"create trigger\s.*?execute function record_ledger\.{name}\(\)", text(path), re.DOTALL
        )
        if triggers:
            words.append("its own trigger" if len(triggers) == 1 else "its own triggers")
        by[name] = words
    for name, used in sorted(uses().items()):
        for other in used:
            by.setdefault(other, []).append(name)
    return by


def true_text(path: Path) -> str:
    """Returns the file's correct text: its own, under a header whose facts are true."""
    found = header(path)
    name = path.stem
    verb = "Read" if path.parts[1] == "views" else "Called"
    facts = [
        f"{verb} by: {', '.join(callers()[name]) or 'nothing'}.",
        f"Uses: {', '.join(uses()[name]) or 'none'}.",
        f"Tests: {', '.join(found.tests)}.",
    ]
    lines = [
        *found.description,
        *(
            line
            for fact in facts
            for line in textwrap.wrap(
                fact, COLUMNS - 3, subsequent_indent="  ", break_on_hyphens=False
            )
        ),
    ]
    return "".join(f"-- {line}\n" for line in lines) + found.body


def untrue_files() -> list[Path]:
    """Returns the files whose headers are not true."""
    return [path for path in object_files().values() if true_text(path) != text(path)]


def _code(sql: str) -> str:
    """Returns SQL without its comments, and without the descriptions of objects."""
    without = re.sub(r"--[^\n]*", "", sql)
    return re.sub(r"^comment on .*?;$", "", without, flags=re.MULTILINE | re.DOTALL)


def _named_by_python() -> set[str]:
    named: set[str] = set()
    for path in files():
        if path.parts[:2] != ("python_runner", "record_ledger") or path.suffix != ".py":
            continue
        tree = ast.parse(text(path))
        strings = _strings(tree)
        for string in strings:
            named |= set(_NAME.findall(string))
        # A text with a placeholder for the object's name, which another text fills.
        if any(re.search(r"\brecord_ledger\.(\{|$)", string) for string in strings):
            named |= set(strings) & set(object_files())
    return named


def _strings(tree: ast.Module) -> list[str]:
    """Returns the texts of a module, without its docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    ]


def _named_by_dbt() -> set[str]:
    named: set[str] = set()
    texts: list[str] = []
    for path in files():
        if path.parts[0] != "dbt_project" or path.name == "deploy_script.sql":
            continue
        if path.suffix == ".sql":
            sql = re.sub(r"\{#.*?#\}|--[^\n]*", "", text(path), flags=re.DOTALL)
            texts.append(sql)
            named |= set(_NAME.findall(sql))
            named |= set(re.findall(r"source\('record_ledger', '(\w+)'\)", sql))
        elif path.suffix == ".yml":
            content = yaml.safe_load(text(path)) or {}
            named |= {
                table["name"] for source in content.get("sources", ()) for table in source["tables"]
            }
    return named | _filled_into_macros("\n".join(texts))


def _filled_into_macros(jinja: str) -> set[str]:
    """Returns the names that macros take as an argument and write behind `record_ledger.`."""
    found: set[str] = set()
    macros = re.findall(r"\{% macro (\w+)\((.*?)\).*?%\}(.*?)\{% endmacro", jinja, re.DOTALL)
    for macro, arguments, body in macros:
        holes = set(re.findall(r"record_ledger\.(?:[\"'] ~|\{\{) (\w+)", body))
        for argument in re.findall(r"\w+", arguments):
            if argument in holes:
                found |= set(re.findall(rf"\b{argument}='(\w+)'", jinja))
                if arguments.startswith(argument):
                    found |= set(re.findall(rf"\b{macro}\(\s*'(\w+)'", jinja))
    return found


def _named_by_a_deploy() -> set[str]:
    named: set[str] = set()
    for path in files():
        is_step = path.parts[:2] == ("sql", "deploy") or len(path.parts) == 2
        if is_step and path.parts[0] == "sql" and path.suffix == ".sql" and path != PUBLIC_LIST:
            named |= set(_NAME.findall(_code(text(path))))
    return named


def _main(arguments: list[str]) -> int:
    untrue = untrue_files()
    if arguments == ["--check"]:
        for path in untrue:
            print(f"{path}: its header is not true; run: {COMMAND}")
        return 1 if untrue else 0
    for path in untrue:
        (ROOT / path).write_text(true_text(path), encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
