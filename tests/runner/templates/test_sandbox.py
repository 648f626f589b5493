"""Templates that would take all memory, or never end, are one clear error each."""

from __future__ import annotations

import json
import threading

import pytest

from record_ledger import InvalidArgument, InvalidConfig
from record_ledger.templates import ArgumentTemplates, RecordTemplates

NOON = "2026-11-22T20:00:00Z"
WINDOW = {
    "pipeline_id": "orders",
    "target_day": "2026-11-21",
    "window_start_time": "2026-11-21T00:00:00+00:00",
    "window_end_time": "2026-11-21T02:00:00+00:00",
    "time_interval": "2h",
}
TOO_MUCH = {
    "a number": "{{ 10**5000 }}",
    "a tower": "{{ 9**(9**9) }}",
    "a product": "{{ (2**9000) * (2**9000) }}",
    "digits": "{{ 1" + "0" * 5000 + " }}",
    "a text": "{{ 'x' * 10**9 }}",
    "a text, the other way": "{{ 10**9 * 'x' }}",
    "a list": "{{ ([0] * 10**9) | length }}",
    "a sum": "{% set n = namespace(x='x') %}{% for i in range(60) %}"
    "{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "a join": "{% set n = namespace(x='x') %}{% for i in range(60) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "a block": "{% set n = namespace(x='x') %}{% for i in range(60) %}"
    "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}{{ n.x }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "a star": "{{ '%*d' % (1000000000, 1) }}",
    "the format filter": "{{ '%1000000000d' | format(1) }}",
    "format": "{{ '{:1000000000}'.format(1) }}",
    "format by an argument": "{{ '{:{}}'.format(1, 1000000000) }}",
    "format_map": "{{ '{a:{w}}'.format_map({'a': 1, 'w': 1000000000}) }}",
    "ljust": "{{ 'x'.ljust(10**9) }}",
    "zfill": "{{ 'x'.zfill(10**9) }}",
    "tabs": "{{ '\t'.expandtabs(10**9) }}",
    "bytes": "{{ (1).to_bytes(10**9, 'big') }}",
    "replace": "{{ ('x' * 10**6).replace('x', 'y' * 10**6) }}",
    "the replace filter": "{{ ('x' * 10**6) | replace('x', 'y' * 10**6) }}",
    "a method's join": "{{ ('x' * 10**6).join(range(100000) | map('string')) }}",
    "the join filter": "{{ range(100000) | join('x' * 10**6) }}",
    "center": "{{ 'x' | center(10**9) }}",
    "indent": "{{ 'x\ny' | indent(10**9) }}",
    "batch": "{{ [1] | batch(10**9, 0) | list }}",
    "slice": "{{ [1] | slice(10**9) | list }}",
    "json": "{{ [1] | tojson(indent=10**9) }}",
    "round": "{{ 1 | round(10**9, 'ceil') }}",
    "by a map": "{{ ['x'] | map('center', 10**9) | list }}",
    "a range": "{{ range(10**12) | list }}",
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a doubling macro": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}"
    "{% endmacro %}{{ m(60) }}",
    "an endless macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "an output": "{% for i in range(90000) %}{{ 'x' * 100 }}{% endfor %}",
    "parentheses": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "blocks": "{% if 1 %}" * 200 + "{% endif %}" * 200,
    "an include": "{% include 'x' %}",
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_field_that_is_too_much_is_one_error_that_names_it(name):
    with pytest.raises(InvalidConfig) as caught:
        RecordTemplates({"path": TOO_MUCH[name]}).render(WINDOW, "UTC")

    message = caught.value.message
    assert message.startswith("invalid config: default_record.path: ")
    assert "TooMuch" not in message
    assert len(message) < 1000


@pytest.mark.parametrize("name", TOO_MUCH)
def test_an_argument_that_is_too_much_is_one_error_that_names_it(name):
    with pytest.raises(InvalidArgument, match="argument 1 of the command, ") as caught:
        ArgumentTemplates(["echo", TOO_MUCH[name]]).render({"pipeline_id": "orders"})

    assert "TooMuch" not in caught.value.message
    assert len(caught.value.message) < 1000


def test_templates_of_use_are_within_the_bounds():
    fields = {
        "rows": 20_000,
        "a": "{{ '%05d' % 7 }}/{{ '{:>8}'.format('x') }}/{{ 'x'.zfill(4) }}",
        "b": "{{ rows | round }} {{ rows | tojson }} {{ rows * 1000 + 2**64 }}",
        "c": "{% for i in range(3) %}{{ i }}{{ ',' if not loop.last }}{% endfor %}",
        "d": "{{ ['a', 'b'] | join('-') }} {{ 'a-b'.replace('-', '+') | center(5) }}",
        "e": "{{ 'a' ~ 1 ~ target_day }}",
        "f": "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('y') }}{{ m('z') }}",
        "g": "{% for x in [1, [2, [3]]] recursive %}"
        "{{ loop(x) if x is iterable else x }}{% endfor %}",
        "h": "{{ 'x' * 1000 }}",
    }

    rendered = RecordTemplates(fields).render(WINDOW, "UTC")

    assert rendered == {
        "rows": 20_000,
        "a": "00007/       x/000x",
        "b": f"20000 20000 {20_000_000 + 2**64}",
        "c": "0,1,2",
        "d": "a-b  a+b ",
        "e": "a12026-11-21",
        "f": "<y><z>",
        "g": "123",
        "h": "x" * 1000,
    }


def test_steps_are_counted_for_each_rendering_and_thread():
    templates = RecordTemplates({"a": "{% for i in range(30000) %}{% endfor %}done"})
    done = []

    def render():
        done.extend(templates.render(WINDOW, "UTC")["a"] for _ in range(5))

    threads = [threading.Thread(target=render) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert done == ["done"] * 10


def test_a_template_that_is_too_much_passes_no_record(command, config, clock, runner, tmp_path):
    clock.set(NOON)
    path = tmp_path / "config.json"
    for field in ("{{ 10**5000 }}", "{{ 'x' * 10**9 }}"):
        path.write_text(json.dumps(config("orders", fields={"path": field})))

        done = command("run", "--config", path)

        assert done.code == 1
        assert done.err.startswith("record-ledger: invalid config: default_record.path: ")
    assert runner.pipeline_records("orders") == []


def test_an_argument_that_is_too_much_costs_no_attempt(command, config_file, clock, runner):
    clock.set(NOON)

    done = command("exec", "--config", config_file, "--", "echo", "{{ 10**5000 }}")

    assert (done.code, done.json["outcome"]) == (1, "released")
    assert "argument 1 of the command, '{{ 10**5000 }}'" in done.json["reason"]
    assert runner.pipeline_records("orders", limit=1)[0]["attempt"] == 0
