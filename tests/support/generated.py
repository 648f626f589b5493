"""Writes what is generated: whole files, and parts of files that are written by hand.

    uv run python -m tests.support.generated            writes what is not current
    uv run python -m tests.support.generated --check    names what is not current, and fails
    uv run python -m tests.support.generated --list     names the files that are generated whole

A new generator is one more line of GENERATORS.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support import deploy_macro, sql_headers
from tests.support.repository import ROOT

COMMAND = "uv run python -m tests.support.generated"


@dataclass(frozen=True)
class Generator:
    """What is generated, and what its files must hold: paths from the root of the repository.

    A generator of whole files names them in `whole`; one of parts leaves that empty.
    """

    what: str
    wanted: Callable[[], Mapping[Path, str]]
    whole: tuple[Path, ...] = ()


# In this order: the macro holds the files of sql/, headers included.
GENERATORS = (
    Generator(
        "the headers of sql/",
        lambda: {path: sql_headers.true_text(path) for path in sql_headers.object_files().values()},
    ),
    Generator(
        "the macro that deploys",
        lambda: {deploy_macro.MACRO_FILE.relative_to(ROOT): deploy_macro.current_macro()},
        whole=(deploy_macro.MACRO_FILE.relative_to(ROOT),),
    ),
)


def whole_files() -> tuple[Path, ...]:
    """Returns the files that are generated whole."""
    return tuple(path for generator in GENERATORS for path in generator.whole)


def outdated(generator: Generator) -> dict[Path, str]:
    """Returns the files of a generator that are not current, each with what it must hold."""
    return {path: new for path, new in generator.wanted().items() if _content(path) != new}


def _content(path: Path) -> str | None:
    file = ROOT / path
    return file.read_text(encoding="utf-8") if file.exists() else None


def main(arguments: list[str] | None = None) -> int:
    """Writes, checks or lists; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.generated")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="name what is not current, and fail")
    what.add_argument("--list", action="store_true", help="name the files that are generated whole")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print(*whole_files(), sep="\n")
        return 0
    found = False
    for generator in GENERATORS:
        for path, new in outdated(generator).items():
            found = True
            if chosen.check:
                print(f"{path}: {generator.what}: not current")
            else:
                (ROOT / path).write_text(new, encoding="utf-8")
                print(f"{path}: {generator.what}: written")
    if found and chosen.check:
        print(f"Run `{COMMAND}`, and commit what it writes.")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
