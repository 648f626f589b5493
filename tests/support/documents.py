"""Reads a Markdown document as one session of commands with their output.

A fenced block's language says how it is run:

    console         lines that start with `$ ` are shell commands (continued by lines that start
                    with `> `), the lines below a command are its output
    bash, sh        a script that must succeed
    sql             one psql session
    python          code, or `>>> ` lines with their output as in doctest
    json, toml, yaml    parsed only; see `file` below
    anything else   not run

A `text` block right below a bash, sql or python block shows the output of that block.

HTML comments right above a block change how it is run: `<!-- not run: REASON -->`,
`<!-- without a server -->`, `<!-- file: NAME -->` (written to that file for later blocks),
`<!-- clock: ISO 8601 -->` and `<!-- clock: free -->` (from that block on).
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent>\s*)```+\s*(?P<language>[\w+-]*)")
_COMMENT = re.compile(r"^\s*<!--\s*(?P<name>[a-z ]+?)\s*(?::\s*(?P<value>.*?))?\s*-->\s*$")
_DIRECTIVES = {"not run", "without a server", "file", "clock"}
_ALIASES = {
    "py": "python", "psql": "sql", "sh": "bash", "shell": "bash", "shell-session": "console",
    "yml": "yaml",
}  # fmt: skip
RUN = ("console", "bash", "sql", "python")
DATA = ("json", "toml", "yaml")
# This reason says that the tests inside Airflow run a DAG of a document.
RUN_IN_AIRFLOW = "tests/airflow runs it"


@dataclass
class Block:
    """A fenced block: its place, its text, and its expected output (None: not shown)."""

    document: str
    line: int
    language: str
    text: str
    directives: dict[str, str] = field(default_factory=dict)
    expected: str | None = None

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass
class Command:
    """One command of a console block and its expected output."""

    line: int
    text: str
    expected: str


def read_blocks(path: Path, name: str | None = None) -> list[Block]:
    """Returns the document's fenced blocks, each with the `text` block of its output.

    :raises ValueError: for a fence that is never closed, or a comment that misuses a directive.
    """
    blocks: list[Block] = []
    directives: dict[str, str] = {}
    joined = False  # whether a text block at this place is the last block's output
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    document = name or path.name
    for number, line in lines:
        fence = _FENCE.match(line)
        comment = _COMMENT.match(line)
        if fence is not None:
            body = _body(lines, fence["indent"], f"{document}:{number}")
            language = _ALIASES.get(fence["language"], fence["language"])
            if language == "text" and joined and not directives:
                blocks[-1].expected = body
                joined = False
            else:
                blocks.append(Block(document, number, language, body, directives))
                joined = language in ("bash", "sql", "python")
            directives = {}
        elif comment is not None and comment["name"] in _DIRECTIVES:
            directives[comment["name"]] = _value(comment, f"{document}:{number}")
            joined = False
        elif line.strip():
            directives = {}
            joined = False
    return blocks


def _body(lines: object, indent: str, place: str) -> str:
    body: list[str] = []
    for _, line in lines:  # type: ignore[attr-defined]
        if line.strip().startswith("```"):
            return textwrap.dedent("\n".join(body)) if indent else "\n".join(body)
        body.append(line)
    raise ValueError(f"{place}: this block is never closed")


def _value(comment: re.Match[str], place: str) -> str:
    value = (comment["value"] or "").strip()
    if comment["name"] != "without a server" and not value:
        raise ValueError(f"{place}: `{comment['name']}` needs a value, as in `not run: REASON`")
    return value


def commands(block: Block) -> list[Command]:
    """Returns the commands of a console block.

    :raises ValueError: when it shows output before the first command.
    """
    found: list[Command] = []
    in_command = False
    for number, line in enumerate(block.text.splitlines(), start=block.line + 1):
        if line.startswith("$ "):
            found.append(Command(number, line[2:], ""))
            in_command = True
        elif not found:
            raise ValueError(f"{block.place}: a console block starts with a `$ ` line")
        elif in_command and (line == ">" or line.startswith("> ")):
            found[-1].text += "\n" + line[2:]
        else:
            in_command = False
            found[-1].expected += line + "\n"
    return found
