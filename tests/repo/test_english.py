"""The project's texts avoid words for which the contributing page has better ones."""

from __future__ import annotations

import re
from functools import lru_cache

import pytest

from tests.support.repository import files, text

# What no text holds, and what says it better. The rules are in tests/CONTRIBUTING.md, "English".
# A blank also matches a line break, within a comment too, and the underscore of a name.
WORDS = {
    "is no(?! (longer|more|other|records))": "is not a, or is not a valid",
    "from [0-9]+ on": "or greater, or from ... onwards",
    "reckon(s|ed|ing)?": "compute",
    "noted": "recorded",
    "told": "reported, or distinguished for told apart",
    "at once": "immediately, or at the same time",
    "mend(s|ed|ing)?": "fix",
    "for want of": "because ... is missing",
    "some [0-9]+": "about",
    "settle(d|s)?": "stable",
    "(who|what|which)ever": "name the actor: a worker, a run, an operator, a caller",
    "(no|some)body": "name the actor: a worker, a run, an operator, a caller",
    "pass(ed|es|ing)? over": "skip",
    "pass(ed|es|ing)? ((it|them) )?on(?! [0-9])": "forward",
}
# The beginnings of paths whose texts keep such words, and why: what is released, or quotes others.
ALLOWED = {
    **{
        f"sql/migrations/000{number}_": "released: a deploy compares the text of a migration"
        for number in range(1, 6)
    },
    "tests/repo/test_english.py": "it lists the words",
}
# Sweeps under way: texts, and names such as those of tests.
NOT_SWEPT_YET = (
    "python_runner/docs/exec.md",  # quotes sql/
    "python_runner/record_ledger/cli/",
    "sql/",
    "tests/runner/",
    "tests/sql/",
)
NAMES_NOT_SWEPT_YET = ("python_runner/", "tests/runner/", "tests/sql/")
# Written by commands from texts that are checked.
GENERATED = ("dbt_project/macros/deploy_script.sql", "tests/benchmarks/results.")
SUFFIXES = {"", ".cfg", ".css", ".html", ".js", ".md", ".py", ".sql", ".toml", ".yml"}


def pattern(words: str) -> re.Pattern[str]:
    """Returns the pattern that finds the words in lower case, in a sentence or a name."""
    words = words.replace(" ", r"(?:[\s_]|--|#)+")
    there = "(?<!there[ _])" if words.startswith("is") else ""
    return re.compile(rf"(?<![a-z0-9]){there}{words}(?![a-z0-9])")


@lru_cache(maxsize=1)
def texts() -> dict[str, str]:
    """Returns the checked files in lower case."""
    found = {}
    for path in files():
        if path.suffix not in SUFFIXES or path.name == "LICENSE":
            continue
        if str(path).startswith((*ALLOWED, *GENERATED, *NOT_SWEPT_YET)):
            continue
        found[str(path)] = text(path).lower()
    return found


def is_in_name(content: str, match: re.Match[str]) -> bool:
    """Returns whether the words are a part of a name."""
    around = content[max(match.start() - 1, 0) : match.end() + 1]
    return "_" in around


@pytest.mark.parametrize("words", WORDS)
def test_no_text_holds_words_that_have_better_ones(words):
    found = []
    for path, content in texts().items():
        for match in pattern(words).finditer(content):
            if path.startswith(NAMES_NOT_SWEPT_YET) and is_in_name(content, match):
                continue
            number = content.count("\n", 0, match.start()) + 1
            found.append(f"{path}:{number}: {content.splitlines()[number - 1].strip()[:110]}")
    advice = f"{WORDS[words]} (tests/CONTRIBUTING.md, English)"
    assert not found, f"write instead: {advice}\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("written", "is_found"),
    [
        ("That is no time.", True),
        ("# that is\n    # no time", True),
        ("-- that is\n-- no time", True),
        ("def test_what_is_no_time_is_refused", True),
        ("There is no time, and that is no longer a time.", False),
        ("This is nothing.", False),
    ],
)
def test_words_are_found_across_lines_and_in_names(written, is_found):
    assert (pattern(next(iter(WORDS))).search(written.lower()) is not None) == is_found


def test_what_is_left_out_exists():
    paths = [str(path) for path in files()]
    left_out = (*ALLOWED, *GENERATED, *NOT_SWEPT_YET, *NAMES_NOT_SWEPT_YET)
    assert [one for one in left_out if not any(path.startswith(one) for path in paths)] == []
