"""Jinja templates in default_record."""

from __future__ import annotations

import pytest

from record_ledger import InvalidConfig, RecordLedger
from record_ledger.templates import RecordTemplates

WINDOW = {
    "pipeline_id": "orders",
    "target_day": "2026-11-20",
    "window_start_time": "2026-11-20T00:00:00-08:00",
    "window_end_time": "2026-11-20T02:00:00-08:00",
    "time_interval": "2h",
}
ZONE = "America/Los_Angeles"


def render(fields):
    return RecordTemplates({"pipeline_id": "orders", **fields}).render(WINDOW, ZONE)


def refused(fields):
    with pytest.raises(InvalidConfig) as caught:
        render(fields)
    assert caught.value.sqlstate == "RL001"
    return str(caught.value)


@pytest.fixture
def runner(ledger_dsn):
    with RecordLedger(ledger_dsn) as opened:
        yield opened


def test_templates_see_the_window_as_pendulum_times_and_the_day_as_a_date():
    fields = render(
        {
            "path": "{{ pipeline_id }}/{{ window_start_time.strftime('%Y/%m/%d/%H') }}",
            "until": "{{ window_end_time.isoformat() }}",
            "day": "{{ target_day.year }}-{{ time_interval }}",
            "utc": "{{ window_start_time.in_timezone('UTC').to_iso8601_string() }}",
        }
    )

    assert fields == {
        "path": "orders/2026/11/20/00",
        "until": "2026-11-20T02:00:00-08:00",
        "day": "2026-2h",
        "utc": "2026-11-20T08:00:00Z",
    }


def test_templates_are_rendered_at_any_depth_and_other_values_stay():
    fields = render(
        {
            "n": 3,
            "none": None,
            "plain": "no {template}",
            "deep": {"a": ["{{ target_day }}", {"b": "{{ n + 1 }}"}], "c": True},
        }
    )

    assert fields == {
        "n": 3,
        "none": None,
        "plain": "no {template}",
        "deep": {"a": ["2026-11-20", {"b": "4"}], "c": True},
    }


def test_fields_may_refer_to_fields_that_come_later():
    fields = render({"url": "{{ bucket }}/x", "bucket": "s3://{{ name }}", "name": "b"})

    assert fields["url"] == "s3://b/x"
    assert list(fields) == ["url", "bucket", "name"]


def test_a_circle_is_refused_and_names_its_fields():
    message = refused({"a": "{{ b }}", "b": "{{ c }}", "c": "{{ a }}", "d": "{{ a }}"})

    assert "circle" in message
    assert "a -> b -> c -> a" in message


def test_a_field_that_refers_to_itself_is_a_circle():
    assert "a -> a" in refused({"a": "{{ a }}"})


def test_every_problem_of_every_field_comes_in_one_error():
    message = refused(
        {"x": "{{ nme }}", "name": "{{ }}", "y": "{% if %}", "z": "{{ a | nofilter }}"}
    )

    assert "default_record.x" in message
    assert "'nme'" in message
    assert "available are name" in message
    assert "window_start_time" in message
    for field in ("name", "y"):
        assert f"default_record.{field}" in message
    assert "default_record.z" in message


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ window_start_time.no_such_thing }}", "no_such_thing"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ window_start_time.__init__.__globals__ }}", "unsafe"),
        ("{% include 'secrets' %}", "no loader"),
        ("{{ '\\u0000' }}", "NUL"),
    ],
)
def test_a_template_that_fails_names_its_field(template, says):
    message = refused({"x": template})

    assert "default_record.x" in message
    assert says in message


def test_a_field_that_builds_on_a_failed_one_is_not_blamed():
    message = refused({"a": "{{ 1 / 0 }}", "b": "{{ a }}", "c": "{{ 2 / 0 }}"})

    assert "default_record.a" in message
    assert "default_record.c" in message
    assert "default_record.b" not in message


def test_a_field_may_bear_the_name_of_one_of_jinjas_functions():
    assert render({"range": "{{ target_day }}", "y": "{{ range }}"})["y"] == "2026-11-20"


def test_templates_cannot_change_what_they_see():
    assert "default_record.x" in refused({"list": [1], "x": "{{ list.append(2) }}"})


def test_a_bad_template_leaves_nothing_behind(runner, config, ledger):
    bad = config(fields={"path": "{{ widow_start_time }}"})

    with pytest.raises(InvalidConfig, match="widow_start_time"):
        runner.store_new_and_pass_valid_record(bad)

    assert ledger.execute("select count(*) from record_ledger.pipelines").fetchone() == (0,)


def test_a_template_that_fails_while_rendering_leaves_nothing_behind(runner, config, ledger):
    bad = config(fields={"path": "{{ 1 / 0 }}"})

    with pytest.raises(InvalidConfig, match="ZeroDivisionError"):
        runner.store_new_and_pass_valid_record(bad)

    assert ledger.execute("select count(*) from record_ledger.pipeline_records").fetchone() == (0,)
    assert ledger.execute("select count(*) from record_ledger.pipelines").fetchone() == (0,)


def test_each_window_is_rendered_for_itself(runner, config, clock):
    clock.set("2026-11-22T20:00:00Z")
    templated = config(
        "orders",
        fields={"path": "{{ window_start_time.strftime('%H') }}", "n": 1},
        check_fields=["path"],
    )

    paths = []
    while (record := runner.store_new_and_pass_valid_record(templated).record) is not None:
        paths.append(record["path"])

    assert paths == ["00", "02", "04", "06", "08", "10"]


def test_an_incomplete_record_is_rebuilt_when_the_template_is_mended(runner, config, clock):
    clock.set("2026-11-22T10:30:00Z")  # one window has settled in Los Angeles
    empty = config("orders", fields={"path": "{{ '' }}"}, check_fields=["path"])
    mended = config("orders", fields={"path": "p-{{ target_day }}"}, check_fields=["path"])

    before = runner.store_new_and_pass_valid_record(empty)
    after = runner.store_new_and_pass_valid_record(mended)

    assert before.verdict == "INCOMPLETE"
    assert before.record is None
    assert after.record["path"] == "p-2026-11-21"


def test_templates_show_the_offset_of_the_server_at_a_change_of_clocks(runner, config, clock):
    clock.set("2026-11-01T20:00:00Z")
    templated = config(
        "orders",
        granularity="1h",
        x_time_back="0s",
        start_at="2026-11-01T00:00",
        fields={"path": "{{ window_start_time.strftime('%H%z') }}"},
    )

    paths = [runner.store_new_and_pass_valid_record(templated).record["path"] for _ in range(4)]

    assert paths == ["00-0700", "01-0700", "01-0800", "02-0800"]
