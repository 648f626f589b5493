"""The data tests that a team puts on its own pipelines fail when they should, and say why."""

from __future__ import annotations

import pytest
import yaml

NOON = "2026-11-03T20:00:00Z"
# Each data test by a name: what it asks of which pipeline, and the sentences it fails with.
CASES = {
    "done_no_gaps": ("no_gaps", "done", {}, []),
    "done_no_stale_leases": ("no_stale_leases", "done", {}, []),
    "done_in_time": ("caught_up", "done", {"within": "23h"}, []),
    "done_late": (
        "caught_up", "done", {"within": "22h59m59s"},
        ["behind by 23:00:00 (h:mm:ss), done until 2026-11-02T00:00:00-08:00: window 2026-11-02"],
    ),
    "no_duration": (
        "caught_up", "done", {"within": "soon"},
        ['within: "soon" is no duration; write it like 2h or 1d2h30m'],
    ),
    "a_failed_window_is_a_gap": (
        "no_gaps", "holed", {},
        ["not done, though a later window is: window 2026-10-31T00:00:00-07:00 failed"],
    ),
    "a_missing_window_is_a_gap": (
        "no_gaps", "cut", {},
        ["no window covers the time from 2026-11-01T00:00:00-07:00 to 2026-11-02T00:00:00-08:00"],
    ),
    "held": ("no_stale_leases", "held", {}, []),
    "silent": (
        "no_stale_leases", "silent", {},
        ["window 2026-10-31T00:00:00-07:00 was passed to run r, whose lease expired"],
    ),
    "nobody": (
        "no_stale_leases", "don", {},
        ['nobody registered a pipeline of this name; did you mean "done"?'],
    ),
    "retired": ("caught_up", "retired", {"within": "1d"}, ["retired, so nothing is stored"]),
}  # fmt: skip


@pytest.fixture
def pipelines(routines, ledger):
    """Pipelines of one window a day that settles in 12 hours, each in its own trouble."""
    routines.clock.set(NOON)

    def register(name, **changes):
        day = {"start_at": "2026-10-31", "granularity": "1d", "x_time_back": "12h"}
        return routines.register(name, **day, **changes)

    for name in ("done", "cut"):
        config = register(name)
        for _ in range(2):
            routines.end("complete", routines.cycle(config))
    config = register("holed")
    routines.end("fail", routines.cycle(config), "boom", False)
    routines.end("complete", routines.cycle(config))
    routines.cycle(register("held", lease="2d"), "r")
    routines.cycle(register("silent", lease="1h"), "r")
    register("retired")
    routines.pause("retired", "retire")
    # Only the owner can, and only with the ledger's guards away.
    ledger.execute(
        "alter table record_ledger.record drop constraint window_follows_the_previous_one; "
        "alter table record_ledger.record disable trigger user; "
        "delete from record_ledger.record where pipeline_id = 'cut' and target_day = '2026-11-01'"
    )
    # The second of November ended at midnight, and is stable since 23 hours.
    routines.clock.set("2026-11-04T19:00:00Z")


@pytest.fixture
def consumer_with(consumer):
    def make(cases):
        tests = [
            {f"record_ledger.{test}": {"name": name, "arguments": {**_named(pipeline), **more}}}
            for name, (test, pipeline, more, _) in cases.items()
        ]
        given = {"models": [{"name": "late", "data_tests": tests}]}
        return consumer(files={"models/late.yml": yaml.safe_dump(given)})

    return make


def _named(pipeline):
    return {} if pipeline is None else {"pipeline_id": pipeline}


@pytest.mark.slow
def test_each_fails_with_what_is_wrong_and_passes_otherwise(consumer_with, pipelines, ledger):
    dbt = consumer_with(CASES)
    dbt.run("--select", "late", "pipeline_status")

    outcome = dbt("test", "--select", "late", "--store-failures")

    assert outcome.named("pass") == {name for name, case in CASES.items() if not case[-1]}
    failed = {name: case for name, case in CASES.items() if case[-1]}
    assert outcome.named("fail") == failed.keys()
    tables = {
        node["name"]: node["relation_name"] for node in dbt.artifact("manifest")["nodes"].values()
    }
    for name, (_, pipeline, _, sentences) in failed.items():
        rows = ledger.execute(
            f"select pipeline_id, problem from {tables[name]} order by window_start_time"
        ).fetchall()
        assert [pipeline_id for pipeline_id, _ in rows] == [pipeline] * len(sentences), name
        for (_, problem), sentence in zip(rows, sentences, strict=True):
            assert problem.startswith(sentence), (name, problem)


@pytest.mark.slow
def test_an_empty_build_judges_no_pipeline_but_knows_their_names(consumer_with, pipelines):
    outcome = consumer_with(CASES)("build", "--empty", "--select", "+late")
    assert outcome.named("fail") == {"nobody"}
    assert outcome.named("pass") >= CASES.keys() - {"nobody"}


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        (("no_gaps", None, {}, []), "no_gaps: pipeline_id is missing"),
        (("no_gaps", 2026, {}, []), "no_gaps: pipeline_id is missing or no text"),
        (("caught_up", "done", {}, []), "caught_up: within is missing"),
    ],
)
@pytest.mark.slow
def test_an_argument_that_is_missing_is_a_clear_error(consumer_with, case, problem):
    outcome = consumer_with({"wrong": case})("compile")
    assert not outcome.success
    assert f"record_ledger.{problem}" in outcome.error
