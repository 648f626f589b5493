""".ci/run and the hooks: which steps there are, what a failed one leaves, what a commit must be."""

from __future__ import annotations

import os
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.support.generated import GENERATORS, main, outdated, whole_files
from tests.support.releases import RELEASES
from tests.support.repository import ROOT, files, text

RUN = ROOT / ".ci" / "run"
HOOKS = ROOT / ".ci" / "hooks"
# Stands for uv: says what it was asked, and fails where FAIL names a word of that.
UV = """\
#!/bin/sh
for number in $(seq 40); do echo "line $number of $*"; done
case " $* " in *" ${FAIL:-nothing} "*) exit 7 ;; esac
"""


@pytest.fixture
def ci(tmp_path):
    """Runs `.ci/run ARGUMENTS`, or another command, where uv does nothing."""
    uv = tmp_path / "uv"
    uv.write_text(UV)
    uv.chmod(0o755)

    def run(*arguments, command=("bash", RUN), fail="nothing", folder=ROOT):
        # Git tells its hooks where they are; a hook that runs the tests must not tell these.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        return subprocess.run(
            [*command, *arguments], cwd=folder, capture_output=True, text=True, check=False,
            env={**inherited, "PATH": f"{tmp_path}:{os.environ['PATH']}", "FAIL": fail},
        )  # fmt: skip

    return run


def steps(ci):
    return [line.split()[0] for line in ci("--list").stdout.splitlines()]


# ---------------------------------------------------------------- the steps
def test_the_list_names_each_step_and_says_what_it_does(ci):
    lines = ci("--list").stdout.splitlines()
    assert [
        line for line in lines if not re.fullmatch(r"[a-z][a-z0-9.-]+ +[a-z].{10,}", line)
    ] == []
    assert (lines[0].split()[0], lines[-1].split()[0]) == ("generated", "tests")


def test_a_step_that_is_unknown_is_one_error_that_names_the_others(ci):
    done = ci("ruff", "rough")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith('.ci/run: "rough" is not a step. The steps are: generated ')
    assert all(name in line for name in steps(ci))


def test_single_steps_run_in_the_order_of_the_list_and_no_other_does(ci):
    done = ci("mypy", "ruff")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"==== (\S+): ok", done.stdout) == ["ruff", "mypy"]
    assert set(re.findall(r"line 1 of run (\S+)", done.stdout)) == {"ruff", "mypy"}


def test_a_failed_step_keeps_no_other_from_running_and_the_end_of_its_output_is_repeated(ci):
    done = ci("ruff", "mypy", fail="ruff")
    assert done.returncode == 1
    assert re.findall(r"==== (\S+): (FAILED|ok)", done.stdout)[:2] == [
        ("ruff", "FAILED"),
        ("mypy", "ok"),
    ]
    end = done.stdout[done.stdout.index("==== ruff: FAILED, the end of its output:") :]
    assert end.splitlines()[1:-2] == [f"line {n} of run ruff check ." for n in range(16, 41)]
    assert end.endswith("\n==== FAILED: [ruff]\n")


def test_the_tests_come_last_and_after_the_failed_steps(ci):
    done = ci("tests", "ruff", fail="ruff")
    assert done.returncode == 1
    assert done.stdout.index("==== FAILED: [ruff]") < done.stdout.index("==== tests: ")
    assert done.stdout.endswith("line 40 of run pytest\n")
    assert ci("tests", fail="pytest").returncode == 1


def test_every_folder_that_a_step_names_exists():
    named = set(re.findall(r"\btests/[\w/.-]*\w", text(RUN)))
    assert {name for name in named if not (ROOT / name).exists()} == set()


# ---------------------------------------------------------------- the versions
def test_the_versions_of_python_are_the_same_wherever_they_are_named():
    project = text(Path("pyproject.toml"))
    versions = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    (oldest, beyond) = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project)[0]
    assert versions == [f"3.{minor}" for minor in range(int(oldest), int(beyond))]
    assert re.findall(r"^pythons=\((.*)\)$", text(RUN), re.MULTILINE) == [" ".join(versions)]
    assert '"Operating System :: POSIX"' in project
    for page in (Path("README.md"), Path("tests/CONTRIBUTING.md")):
        named = set(re.findall(r"Python (3\.\d+) to (3\.\d+)", text(page)))
        assert named == {(versions[0], versions[-1])}, page


# ---------------------------------------------------------------- what is generated
@pytest.mark.parametrize("generator", GENERATORS, ids=lambda generator: generator.what)
def test_what_is_generated_is_current(generator):
    assert not list(outdated(generator)), "run `uv run python -m tests.support.generated`"


def test_whole_files_that_are_generated_are_marked_and_left_out_of_searches(capsys):
    generated = re.findall(
        r"^(\S+) linguist-generated$", text(Path(".gitattributes")), re.MULTILINE
    )
    left_out = re.findall(r"^/(\S+)$", text(Path(".ignore")), re.MULTILINE)
    assert {str(path) for path in whole_files()} <= set(generated) & set(left_out)
    assert {name for name in generated if not (ROOT / name).is_file()} == set()
    assert {name for name in left_out if not (ROOT / name).exists()} == set()
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split() == [str(path) for path in whole_files()]


def test_a_check_names_what_is_not_current_and_writes_nothing(capsys, monkeypatch):
    (path,) = whole_files()
    monkeypatch.setattr("tests.support.deploy_macro.current_macro", lambda: "changed")
    before = text(path)
    assert main(["--check"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{path}: the macro that deploys: not current"
    assert "tests.support.generated" in said[1]
    assert text(path) == before


def test_fixtures_are_gzipped_scripts_of_earlier_releases_alone():
    names = [str(path) for path in files() if path.parts[:2] == ("tests", "fixtures")]
    assert names == [f"tests/fixtures/releases/{release}.sql.gz" for release in RELEASES]
    assert any(
        fnmatch(names[0], pattern)
        for pattern in re.findall(r"^(\S+) binary$", text(Path(".gitattributes")), re.MULTILINE)
    )
    (current,) = re.findall(r'^version = "(.+)"$', text(Path("pyproject.toml")), re.MULTILINE)

    def number(release):
        return tuple(map(int, release.split(".")))

    assert all(number(release) < number(current) for release in RELEASES)


# ---------------------------------------------------------------- the hooks
GOOD = [
    "sql: refuse an infinite as_of",
    "python, sql: bring the rooms together",
    "tests: " + "x" * 65,
    "Merge what the tests take less time for",
    'Revert "sql: refuse an infinite as_of"',
    "fixup! sql: refuse an infinite as_of",
]
BAD = {
    "Refuse an infinite as_of": "begin with the area",
    "sql: Refuse an infinite as_of": "begin with the area",
    "sql:refuse an infinite as_of": "begin with the area",
    "": "begin with the area",
    "tests: " + "x" * 66: "it has 73 characters",
    "sql: refuse an infinite as_of.": "leave out the full stop",
    "sql: added a check": "not 'added'",
    "sql: adding a check": "not 'adding'",
}


def test_a_commits_subject_says_its_area_and_an_imperative_shortly(tmp_path, ci):
    message = tmp_path / "message"

    def judge(subject):
        message.write_text(f"{subject}\n\nWhy: because.\n# Please enter a message\n")
        return ci(message, command=("bash", HOOKS / "commit-msg"))

    assert [subject for subject in GOOD if judge(subject).returncode != 0] == []
    for subject, says in BAD.items():
        done = judge(subject)
        assert (done.returncode, says in done.stderr) == (1, True), (subject, done.stderr)


@pytest.mark.parametrize("fail", ["nothing", "tests.support.generated", "ruff"])
def test_a_commit_is_refused_where_a_generated_file_or_the_lint_fails(tmp_path, ci, fail):
    clone = tmp_path / "clone"
    subprocess.run(["git", "init", "--quiet", clone], check=True)
    done = ci(command=("bash", HOOKS / "pre-commit"), fail=fail, folder=clone)
    assert done.returncode == (0 if fail == "nothing" else 7), done.stderr


@pytest.mark.parametrize("hook", ["pre-commit", "commit-msg"])
def test_git_can_run_the_hooks(hook):
    assert os.access(HOOKS / hook, os.X_OK)
