"""The house rules of the repository: where things are, and what must not be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.repository import ROOT, files, text

TOP_LEVEL = {
    ".ci", ".editorconfig", ".gitattributes", ".gitignore", ".ignore", ".sqlfluff", "LICENSE",
    "README.md", "dbt_project", "pyproject.toml", "python_runner", "sql", "tests",
}  # fmt: skip

LOCK_FILES = {
    "Pipfile.lock", "package-lock.json", "package-lock.yml", "pdm.lock", "poetry.lock", "uv.lock",
    "yarn.lock",
}  # fmt: skip

# Put together from halves, so that this file does not match itself.
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


def test_the_tests_page_names_each_folder_of_tests_and_no_other():
    named = re.findall(r"^\| `([\w/]+)` \| ", text(Path("tests/README.md")), re.MULTILINE)
    folders = {
        str(path.parent.relative_to("tests"))
        for path in files()
        if path.parts[0] == "tests" and path.match("test_*.py")
    }
    assert {name for name in named if (ROOT / "tests" / name).is_dir()} == folders


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
