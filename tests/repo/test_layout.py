"""The house rules of the repository: what lies where, and what lies nowhere."""

from __future__ import annotations

import re

import pytest

from tests.support.repository import files, text

TOP_LEVEL = {
    ".ci", ".editorconfig", ".gitignore", ".sqlfluff", "LICENSE", "README.md", "dbt_project",
    "pyproject.toml", "python_runner", "sql", "tests",
}  # fmt: skip

# A file of more than 300 lines is two rooms in one, unless there is a reason.
LONG_FILES: dict[str, str] = {
    "LICENSE": "the licence is as long as it is",
    "README.md": "one page for a stranger",
    "dbt_project/README.md": "the reference of the dbt package",
    "dbt_project/macros/deploy_script.sql": "generated: all of sql/ in one macro",
    "sql/README.md": "the reference of the SQL surface",
    "tests/benchmarks/results.json": "data that the benchmarks wrote",
    "tests/sql/model.py": "all rules once more in one place, to be read beside those of sql/rules",
}
# The deploy scripts of earlier releases: kept as they were.
RELEASED = ("tests", "fixtures", "releases")
LINE_LIMIT = 300

LOCK_FILES = {
    "Pipfile.lock", "package-lock.json", "package-lock.yml", "pdm.lock", "poetry.lock", "uv.lock",
    "yarn.lock",
}  # fmt: skip

# Put together from halves, so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile(
    r"(?:^|[^A-Za-z0-9_.])/(?:" + "|".join(["wo" + "rk", "fa" + "rm", "ro" + "ot"]) + r")/"
    r"|/(?:ho" + r"me|Us" + r"ers)/[A-Za-z]|\b[A-Z]:\\[A-Za-z]",
    re.MULTILINE,
)
REGISTRIES = re.compile(
    "|".join(
        re.escape(host)
        for host in [
            "py" + "pi.org", "python" + "hosted.org", "registry.np" + "mjs", "np" + "mjs.com",
            "deb.deb" + "ian.org", "hub.get" + "dbt.com", "proxy.go" + "lang.org",
            "conda" + ".anaconda", "find-" + "links", "index-" + "url",
        ]
    )
)  # fmt: skip


def test_the_top_level_holds_what_was_agreed_and_nothing_else():
    assert {path.parts[0] for path in files()} <= TOP_LEVEL


def test_no_lock_file_is_kept():
    locks = [
        path
        for path in files()
        if path.name in LOCK_FILES or re.fullmatch(r"pylock.*\.toml", path.name)
    ]
    assert not locks


@pytest.mark.parametrize(
    ("what", "pattern"), [("machine path", MACHINE_PATHS), ("registry address", REGISTRIES)]
)
def test_no_file_holds_a(what, pattern):
    held = [
        f"{path}:{number}: {line.strip()[:120]}"
        for path in files()
        for number, line in enumerate(text(path).splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not held, "\n".join(held)


def test_a_long_file_has_its_reason_listed():
    written = [path for path in files() if path.parts[:3] != RELEASED]
    long_files = {str(path): text(path).count("\n") for path in written}
    unlisted = {
        name: lines
        for name, lines in long_files.items()
        if lines > LINE_LIMIT and name not in LONG_FILES
    }
    assert not unlisted


def test_text_ends_with_one_line_feed_and_holds_no_tabs_or_trailing_blanks():
    wrong = []
    for path in files():
        if path.name == "LICENSE":
            continue
        content = text(path)
        if content and (not content.endswith("\n") or content.endswith("\n\n")):
            wrong.append(f"{path}: its end")
        wrong += [
            f"{path}:{number}"
            for number, line in enumerate(content.split("\n"), start=1)
            if line != line.rstrip() or "\t" in line or "\r" in line
        ]
    assert not wrong, "\n".join(wrong)
