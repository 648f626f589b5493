"""Finds the ledger's SQL files and assembles the deploy script from them; runs nothing."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_MIGRATION_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\Z")

# Later files use what earlier ones define: views call rules, functions read views at run time only.
_REPLACEABLE = ("rules", "changes", "triggers", "api", "views")
_LAST = ("comments", "public_objects", "grants", "verify")


def package_release() -> str:
    """Returns the release of this code: the installed package's, else the checkout's."""
    try:
        return version("record-ledger")
    except PackageNotFoundError:
        pyproject = _PACKAGE.parent.parent / "pyproject.toml"
        text = pyproject.read_text(encoding="utf-8") if pyproject.is_file() else ""
        stated = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
        return stated[1] if stated else "0.0.0"


def sql_directory() -> Path:
    """Returns the folder of SQL files that belongs to this code.

    In an installed wheel it is `record_ledger/sql`; in a checkout, the repository's `sql`.

    :raises FileNotFoundError: when neither is there (a broken build).
    """
    candidates = (_PACKAGE / "sql", _PACKAGE.parent.parent / "sql")
    for candidate in candidates:
        if (candidate / "deploy" / "begin.sql").is_file():
            return candidate
    looked_in = " and ".join(str(candidate) for candidate in candidates)
    raise FileNotFoundError(f"the ledger's SQL files are missing: looked in {looked_in}")


def deploy_script(release: str, directory: Path | None = None, owner: str | None = None) -> str:
    """Returns the one script that deploys the ledger: the same text for psql and for `deploy`.

    It is one transaction, and what it changes is decided by the SQL in it. `owner` is the role
    that the ledger is to belong to, if another than the deploying user's choice. Source: the files
    under `directory`, by default `sql_directory()`.

    :raises FileNotFoundError: when a file that every deploy needs is missing.
    :raises ValueError: when migrations are not named and numbered like `0001_tables.sql`.
    """
    folder = sql_directory() if directory is None else directory
    migrations = _migrations(folder)
    session, roles, strangers, trust, begin = (
        _text(folder / "deploy" / f"{name}.sql")
        for name in ("session", "roles", "strangers", "trust", "begin")
    )
    parts = [
        # Whatever the default is: it must see what the deploy before it, whose lock it waited for,
        # has done.
        "begin isolation level read committed;",
        session,
        owner_setting(owner),
        f"set local record_ledger.migrations = {len(migrations)};",
        roles,
        strangers,
        trust,
        begin,
        f"select record_ledger.begin_deploy({_literal(release)}, {len(migrations)});",
    ]
    parts += [
        f"select record_ledger.migrate({version}, {_literal(path.stem)}, "
        f"{_dollar_quoted(_text(path))});"
        for version, path in migrations
    ]
    for name in _REPLACEABLE:
        parts += [_text(path) for path in sorted((folder / name).rglob("*.sql"))]
    parts += [_text(folder / f"{name}.sql") for name in _LAST]
    parts += [
        f"select record_ledger.end_deploy({_literal(release)});",
        # What a stranger has added while the deploy was under way is found before it is committed.
        strangers,
        trust,
        "commit;",
    ]
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def owner_setting(owner: str | None = None) -> str:
    """Returns the script's line that names the role which the ledger is to belong to."""
    return f"set local record_ledger.owner = {_literal(owner or '')};"


def strangers_statement() -> str:
    """Returns the statement that looks for what in the schema belongs to strangers."""
    return _text(sql_directory() / "deploy" / "strangers.sql")


def _migrations(folder: Path) -> list[tuple[int, Path]]:
    """Returns (number, file) of every migration in order, numbered from 1 without a hole."""
    numbered = []
    for path in sorted((folder / "migrations").glob("*.sql")):
        name = _MIGRATION_NAME.match(path.stem)
        if name is None:
            raise ValueError(f"migration {path.name} is not named like 0001_tables.sql")
        numbered.append((int(name[1]), path))
    if [number for number, _ in numbered] != list(range(1, len(numbered) + 1)):
        names = ", ".join(path.name for _, path in numbered) or "none"
        raise ValueError(f"migrations are not numbered 0001, 0002, ... without a hole: {names}")
    return numbered


def _text(path: Path) -> str:
    # Universal newlines: a checkout with CRLF line ends must give the same migration checksums.
    return path.read_text(encoding="utf-8")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _dollar_quoted(body: str) -> str:
    tag = "body"
    while f"${tag}" in body:
        tag += "_"
    return f"${tag}${body}${tag}$"
