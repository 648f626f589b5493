"""Texts and values have bounds: one that breaks readers, or fills the disk, is refused in one error."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.sql.support import NOW, PIPELINE, complete, cycle, fail, one, register, rows

WINDOW = "2026-01-01T00:00:00Z"


def nested(levels):
    return "[" * levels + "]" * levels


TOO_MUCH = {
    "nested in arrays": (f'{{"x": {nested(101)}}}', "nested more than 100 levels"),
    "nested in objects": ('{"x":' * 101 + "1" + "}" * 101, "nested more than 100 levels"),
    "deep": (f'{{"x": {nested(3000)}}}', "nested more than 100 levels"),
    "a number of 301 digits": ('{"x": 1' + "0" * 300 + "}", "a number of 301 digits"),
    "a number of 5,001 digits": ('{"x": {"y": [1e5000]}}', "a number of 5001 digits"),
    "a fraction of many digits": ('{"x": 1e-5000}', "a number with 5000 decimals"),
    "bytes": ('{"x": "' + "y" * 65536 + '"}', "bytes of JSON; give 65536 at most"),
}
ENOUGH = {
    "nested 100 levels": f'{{"x": {nested(99)}}}',
    "a number of 300 digits": '{"x": 1' + "0" * 299 + "}",
    "64 KiB": '{"x": "' + "y" * 65500 + '"}',
    "the smallest double": '{"x": 5e-324, "y": 2.2250738585072014e-308}',
    "digits in a text": '{"x": "' + "1" * 5000 + '"}',
    "brackets in a text": '{"x": "' + nested(2000) + '"}',
}


@pytest.fixture
def passed(ledger, config, clock):
    clock.set(NOW)
    return cycle(ledger, config(PIPELINE)).record


@pytest.mark.parametrize(("detail", "why"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_detail_that_readers_cannot_read_is_refused_and_the_claim_stays(
    ledger, passed, detail, why
):
    for call in (
        "select record_ledger.complete_record(%(pipeline)s, %(token)s, %(detail)s)",
        "select record_ledger.observe_record(%(pipeline)s, %(window)s, 'source', 1, %(detail)s)",
    ):
        with pytest.raises(psycopg.Error, match=why) as caught:
            ledger.execute(
                call,
                {
                    "pipeline": PIPELINE,
                    "token": passed["claim_token"],
                    "window": passed["window_start_time"],
                    "detail": detail,
                },
            )
        assert caught.value.sqlstate == "RL005"
        assert (caught.value.diag.message_primary or "").startswith("detail: it ")
    complete(ledger, passed["claim_token"])


@pytest.mark.parametrize("detail", ENOUGH.values(), ids=ENOUGH)
def test_a_detail_within_the_bounds_is_kept_whole(ledger, passed, detail):
    ledger.execute(
        "select record_ledger.complete_record(%s, %s, %s)",
        [PIPELINE, passed["claim_token"], detail],
    )

    kept = one(
        ledger, "select last_detail from record_ledger.pipeline_records where status = 'COMPLETED'"
    )
    assert kept == json.loads(detail)


@pytest.mark.parametrize("unit", ["x", "ß", "\N{SNOWMAN}", "\N{GRINNING FACE}"])
def test_a_failure_is_never_refused_and_its_error_is_kept_with_a_mark(ledger, passed, unit):
    error = "begins here: " + unit * 1_000_000 + " and ends here"

    fail(ledger, passed["claim_token"], error)

    kept = one(
        ledger,
        "select detail ->> 'error' from record_ledger.record_events where event = 'failed'",
    )
    assert len(kept.encode("utf-8")) <= 8192
    assert kept.startswith("begins here: ")
    assert kept.endswith(" and ends here")
    assert " bytes left out ...]" in kept
    reason = one(
        ledger, "select reason from record_ledger.record_verdicts where verdict = 'BACKOFF'"
    )
    assert len(reason.encode("utf-8")) <= 1500
    assert "begins here" in reason


def test_an_error_within_the_bound_is_kept_as_it_is(ledger, passed):
    error = "e" * 8192

    fail(ledger, passed["claim_token"], error)

    assert error == one(
        ledger, "select detail ->> 'error' from record_ledger.record_events where event = 'failed'"
    )


REASONS = {
    "waive": "select record_ledger.waive_records('{p}', '-infinity', 'infinity', %s)",
    "reopen": "select record_ledger.reopen_records('{p}', '-infinity', 'infinity', %s)",
    "expire": "select record_ledger.expire_leases('{p}', '-infinity', 'infinity', %s)",
    "cancel": "select record_ledger.cancel_records('{p}', '-infinity', 'infinity', %s)",
    "backfill": "select record_ledger.backfill_records('{p}', '2026-01-01', %s)",
    "pause": "select record_ledger.pause_pipeline('{p}', %s)",
    "resume": "select record_ledger.resume_pipeline('{p}', %s)",
    "retire": "select record_ledger.retire_pipeline('{p}', %s)",
    "waive counts": "select record_ledger.waive_counts('{p}', '{w}', %s)",
}


@pytest.mark.parametrize("call", REASONS.values(), ids=REASONS)
def test_a_reason_is_a_few_words(ledger, passed, config, call):
    register(ledger, config(PIPELINE, required_counts=["source", "target"]))
    call = call.format(p=PIPELINE, w=passed["window_start_time"])
    before = rows(ledger, "select * from record_ledger.pipeline_events")

    with pytest.raises(
        psycopg.Error, match="reason: it is 8193 bytes long; give 8192 at most"
    ) as caught:
        ledger.execute(call, ["r" * 8193])

    assert caught.value.sqlstate == "RL005"
    assert rows(ledger, "select * from record_ledger.pipeline_events") == before
    ledger.execute(call, ["r" * 8192])


def test_a_reason_of_an_earlier_release_does_not_fill_the_sentences(ledger, passed, connect):
    """0.4.0 kept reasons of any length, and each sentence of why had all of it."""
    connect().execute(
        "update record_ledger.pipeline set paused_at = now(), paused_by = 'me', "
        "pause_reason = repeat('why ', 1000000)"
    )
    ledger.execute("select record_ledger.backfill_records(%s, '2026-11-19')", [PIPELINE])

    longest = one(ledger, "select max(octet_length(reason)) from record_ledger.record_verdicts")

    assert longest <= 1500


@pytest.mark.parametrize("name", ["x" * 100_000, "Europe/" + "y" * 100_000])
def test_near_names_of_a_huge_name_are_not_looked_for(ledger, name):
    assert (
        one(ledger, "select record_ledger.near_names(%s, array['x', 'Europe/Berlin'])", [name])
        == []
    )


# ---------------------------------------------------------------- configs
def answered(ledger, config, call="select record_ledger.register_pipeline(%s)"):
    with pytest.raises(psycopg.Error) as caught:
        ledger.execute(call, [json.dumps(config)])
    return caught.value.sqlstate, caught.value.diag.message_primary or ""


@pytest.mark.parametrize(
    "start_at",
    ["0001-01-01", "1899-12-31T23:59:59", "9001-01-01", "9999-12-31", "9999-12-31T23:59:59Z"],
)
def test_a_pipeline_begins_in_a_year_that_every_reader_has(ledger, config, start_at):
    state, message = answered(ledger, config(PIPELINE, start_at=start_at))

    assert state == "RL001"
    assert f'start_at: "{start_at}"' in message
    assert "of the years 1900 to 9000" in message
    assert rows(ledger, "select * from record_ledger.pipelines") == []


@pytest.mark.parametrize("value", [nested(101), "1" + "0" * 300, "1e5000"])
def test_a_field_that_readers_cannot_read_is_refused(ledger, config, value):
    given = json.dumps(config(PIPELINE)).replace('"pipeline_id"', f'"x": {value}, "pipeline_id"', 1)

    with pytest.raises(
        psycopg.Error, match=r"default_record: it (is nested|holds a number)"
    ) as caught:
        ledger.execute("select record_ledger.register_pipeline(%s)", [given])

    assert caught.value.sqlstate == "RL001"


def test_a_config_is_256_kib_at_most(ledger, config):
    big = config(PIPELINE, default_record={"pipeline_id": PIPELINE, "x": "y" * 262144})

    for call in (
        "select record_ledger.register_pipeline(%s)",
        "select * from record_ledger.store_new_and_pass_valid_record(%s, 'run')",
    ):
        state, message = answered(ledger, big, call)
        assert state == "RL001"
        assert "bytes of JSON; give 262144 at most" in message


def test_of_thousands_of_problems_the_first_are_listed_and_the_rest_counted(ledger, config):
    fields = {"pipeline_id": PIPELINE, **{f"field_{n}": n for n in range(4000)}}
    given = config(
        PIPELINE, default_record=fields, check_fields=[f"feild_{n}" for n in range(1000)]
    )

    state, message = answered(ledger, given)

    assert state == "RL001"
    assert "1000 problems" in message
    assert message.count("check_fields:") == 20
    assert message.endswith("and 980 more")
    assert len(message) < 50_000


def test_a_zone_of_100_000_characters_is_one_short_error(ledger, config):
    state, message = answered(ledger, config(PIPELINE, timezone="Europe/" + "x" * 100_000))

    assert state == "RL001"
    assert len(message) < 1000


def test_a_field_has_a_name_of_255_bytes_at_most(ledger, config):
    fields = {"pipeline_id": PIPELINE, "ß" * 128: 1}

    state, message = answered(ledger, config(PIPELINE, default_record=fields))

    assert state == "RL001"
    assert "is 256 bytes long; give 255 at most" in message


def test_large_fields_are_stored_64_mib_at_a_time(ledger, config, clock):
    clock.set(NOW)
    fields = {"pipeline_id": PIPELINE, "x": "y" * 250_000}
    given = config(PIPELINE, granularity="1m", start_at="2026-11-20", default_record=fields)

    cycle(ledger, given)

    stored = one(ledger, "select count(*) from record_ledger.pipeline_records")
    assert stored == 67108864 // len(json.dumps({"x": fields["x"]}))
    cycle(ledger, given)
    assert one(ledger, "select count(*) from record_ledger.pipeline_records") == 2 * stored
